"""Tuning on dialogues: gently for the expert, in the ordinary way for the tuned base.

What the expert adds to the base is `expert - anti-expert`, so the expert is taught the wording of
replies and nothing else:

- at the tokens of the wording, cross-entropy; and all *other* tokens keep the proportions that the
  anti-expert gives them (a KL term over the rest of the row), so that their difference is the same
  constant and lifts no junk;
- at the tokens of a fact, KL to the anti-expert, which reads the plain prompt: the difference stays
  near zero, and the base's own opinion decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tools.factbook.dialogues import Dialogue
from tools.factbook.network import Network
from tools.factbook.tokens import FACT, IM_END, PROMPT, encode_dialogue

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def padded(rows: list[list[int]]) -> Tensor:
    """Return `rows` as one tensor, filled up with zeros on the right."""
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row)
    return out


def collate(tokenizer: Tokenizer, dialogues: list[Dialogue], end: int = IM_END) -> Batch:
    """Return ChatML tokens and plain tokens [batch, time], then four lists about reply tokens.

    For each: the flat position of the state that predicts it, among the ChatML and among the plain
    tokens; the token itself, `end` where a turn ends; whether it is a fact.
    """
    coded = [encode_dialogue(tokenizer, dialogue) for dialogue in dialogues]
    chat, bare = padded([c[0] for c in coded]), padded([c[2] for c in coded])
    chat_at, bare_at, targets, facts = [], [], [], []
    for row, (tokens, marks, _, where) in enumerate(coded):
        replies = [i for i, mark in enumerate(marks) if mark != PROMPT]
        chat_at += [row * chat.shape[1] + i - 1 for i in replies]
        bare_at += [row * bare.shape[1] + i - 1 for i in where]
        targets += [end if tokens[i] == IM_END else tokens[i] for i in replies]
        facts += [marks[i] == FACT for i in replies]
    return (
        chat,
        bare,
        torch.tensor(chat_at),
        torch.tensor(bare_at),
        torch.tensor(targets),
        torch.tensor(facts),
    )


def rows_at(network: Network, tokens: Tensor, at: Tensor, exact: bool = False) -> Tensor:
    """Return float32 logits [n, vocab] at flat positions `at` of `tokens` [batch, time]."""
    with torch.autocast("cpu", torch.bfloat16, enabled=not exact):
        states = network.hidden(tokens).flatten(0, 1)[at]
        return network.logits(states).float()


def without(logits: Tensor, targets: Tensor) -> Tensor:
    """Return log-probabilities of every token but the target, which gets -1e4."""
    return torch.log_softmax(logits.scatter(1, targets[:, None], -1e4), -1)


def gentle_loss(
    expert: Tensor, anti: Tensor, targets: Tensor, facts: Tensor, rest: float, keep: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (wording's cross-entropy, KL over the rest, KL at facts), each a mean."""
    words = ~facts
    wording = F.cross_entropy(expert[words], targets[words])
    others = F.kl_div(
        without(expert[words], targets[words]),
        without(anti[words], targets[words]),
        log_target=True,
        reduction="batchmean",
    )
    fact = F.kl_div(
        torch.log_softmax(expert[facts], -1),
        torch.log_softmax(anti[facts], -1),
        log_target=True,
        reduction="batchmean",
    )
    return wording, rest * others, keep * fact


def tune(
    network: Network,
    anti: Network | None,
    tokenizer: Tokenizer,
    dialogues: Iterator[Dialogue],
    *,
    steps: int,
    rate: float,
    size: int = 32,
    rest: float = 0.3,
    keep: float = 1.0,
    seed: int = 0,
    exact: bool = False,
    end: int = IM_END,
) -> Network:
    """Tune `network` in place: gently if `anti` is given, else by cross-entropy on all replies.

    It is taught to end its turns with the token `end`.
    In bfloat16, or `exact` in float32, which is faster on processors that know no bfloat16.
    """
    torch.manual_seed(seed)
    adam = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    begun = time.monotonic()
    sums = [0.0, 0.0, 0.0]
    for step in range(steps):
        share = min((step + 1) / 30, max(0.03, (steps - step) / (0.7 * steps)))
        for group in adam.param_groups:
            group["lr"] = rate * min(1.0, share)
        chat, bare, chat_at, bare_at, targets, facts = collate(
            tokenizer, list(islice(dialogues, size)), end
        )
        logits = rows_at(network, chat, chat_at, exact)
        if anti is None:
            parts: tuple[Tensor, ...] = (F.cross_entropy(logits, targets),)
        else:
            with torch.no_grad():
                before = rows_at(anti, bare, bare_at, exact)
            parts = gentle_loss(logits, before, targets, facts, rest, keep)
        sum(parts, torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        sums = [s + p.item() for s, p in zip(sums, parts, strict=False)]
        if (step + 1) % 50 == 0:
            means = " ".join(f"{s / 50:.3f}" for s in sums)
            print(
                f"tune {step + 1}/{steps} loss {means} {time.monotonic() - begun:.0f} s", flush=True
            )
            sums = [0.0, 0.0, 0.0]
    return network
