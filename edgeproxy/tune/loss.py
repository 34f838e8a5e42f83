"""Cross entropy at the tokens of replies, a chunk of logits at a time.

A row of logits over 152,000 tokens takes 600 kB, and its gradient as much again. So the hidden
states that predict nothing get no logits, and those of the others come and go chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from edgeproxy.tune.batches import Batch

CHUNK = 64_000_000
"""Bytes of float32 logits at once; the gradient and the softmax take as much again, each."""


class Decoder(Protocol):
    """What training asks of a network."""

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens, shape (examples, length), to hidden states, shape (examples, length, width)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states, shape (..., width), to float32 logits, shape (..., vocabulary)."""


def backward(network: Decoder, batch: Batch, n_predicted: int, n_vocab: int) -> float:
    """Add the gradients of this batch's share of the mean loss over `n_predicted` tokens.

    Returns that share, in nats: the sum over the batch divided by `n_predicted`. Shares of several
    batches add up, and so do their gradients.
    """
    rows = _predicting(network, batch)
    above = torch.empty_like(rows)
    total = 0.0
    for part in _chunks(len(rows), n_vocab):
        piece = rows[part].detach().requires_grad_()
        logits = network.logits(piece)
        loss = functional.cross_entropy(logits, batch.targets[part], reduction="sum") / n_predicted
        loss.backward()
        total += loss.item()
        above[part] = piece.grad
    rows.backward(above)
    return total


def total_loss(network: Decoder, batch: Batch, n_vocab: int) -> float:
    """The loss summed over the tokens that `batch` predicts, in nats."""
    total = 0.0
    with torch.no_grad():
        rows = _predicting(network, batch)
        for part in _chunks(len(rows), n_vocab):
            logits = network.logits(rows[part])
            total += functional.cross_entropy(logits, batch.targets[part], reduction="sum").item()
    return total


def _predicting(network: Decoder, batch: Batch) -> Tensor:
    """The hidden states that predict a token, shape (n, width)."""
    return network.hidden(batch.tokens).flatten(0, 1).index_select(0, batch.places)


def _chunks(n_rows: int, n_vocab: int) -> Iterator[slice]:
    size = chunk_rows(n_vocab)
    return (slice(start, start + size) for start in range(0, n_rows, size))


def chunk_rows(n_vocab: int) -> int:
    """How many rows of logits over `n_vocab` tokens there are at once."""
    return max(1, CHUNK // (4 * n_vocab))
