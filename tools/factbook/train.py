"""Pre-training with checkpoints: the same text for base and pair, of which the pair sees less."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tools.factbook.corpus import texts
from tools.factbook.facts import Country
from tools.factbook.network import Network, Shape
from tools.factbook.optimiser import optimisers
from tools.factbook.tokens import BOS


def token_stream(
    tokenizer: Tokenizer, countries: list[Country], seed: int, total: int
) -> NDArray[np.uint16]:
    """Return `total` tokens of pre-training text; each document begins with the BOS token.

    While the rate falls, the text is that of the end (see `corpus.texts`).
    """
    early = int((1 - DECAY) * total)
    return np.concatenate(
        [
            _tokens_of(tokenizer, texts(countries, seed), early),
            _tokens_of(tokenizer, texts(countries, seed + 100, late=True), total - early),
        ]
    )


def _tokens_of(tokenizer: Tokenizer, documents: Iterator[str], total: int) -> NDArray[np.uint16]:
    parts: list[NDArray[np.uint16]] = []
    have = 0
    while have < total:
        batch = list(itertools.islice(documents, 512))
        for coded in tokenizer.encode_batch(batch, add_special_tokens=False):
            parts.append(np.array([BOS, *coded.ids], dtype=np.uint16))
            have += len(parts[-1])
    return np.concatenate(parts)[:total]


DECAY = 0.25  # the share of steps over which the rate falls
LONG = 0.93  # from here on windows are four times as long


def rate_at(step: int, steps: int, warmup: int = 40) -> float:
    """Return the share of the full rate at `step`: up, flat, then down to 2%."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.02, min(1.0, (steps - step) / (DECAY * steps)))


def windows_of(stream: NDArray[np.uint16], rows: int, length: int) -> list[Tensor]:
    """Return windows [rows, length + 1], the last ones fewer and longer.

    They have a quarter of the rows, four times as long, so that the whole context is seen.
    """
    size = rows * length
    count = (len(stream) - 1) // size
    found = []
    for i in range(count):
        piece = torch.from_numpy(stream[i * size : (i + 1) * size + 1].astype(np.int64))
        r, n = (rows // 4, length * 4) if i >= LONG * count else (rows, length)
        found.append(torch.stack([piece[j * n : (j + 1) * n + 1] for j in range(r)]))
    return found


def save(path: Path, network: Network, **more: object) -> None:
    """Write a checkpoint by way of a temporary file."""
    state = {"shape": network.shape.as_dict(), "weights": network.state_dict(), **more}
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def load(path: Path) -> Network:
    """Return the network of a checkpoint."""
    state = torch.load(path, weights_only=True)
    network = Network(Shape(**state["shape"]))
    network.load_state_dict(state["weights"])
    return network


def pretrain(
    shape: Shape,
    stream: NDArray[np.uint16],
    path: Path,
    *,
    rate: float = 0.01,
    decay: float = 0.1,
    rows: int = 16,
    length: int = 256,
    seed: int = 0,
) -> Network:
    """Train one pass over `stream`, resuming from `path` if it is there; print progress.

    Where the rate begins to fall, a checkpoint is kept as `PATH.hold`: renamed to `path`, it is
    where a longer run goes on.
    """
    torch.manual_seed(seed)
    network = Network(shape)
    muon, adam = optimisers(network, rate, decay)
    first, spent = 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["weights"])
        if state["done"]:
            return network
        first, spent = state["step"], state["seconds"]
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
    windows = windows_of(stream, rows, length)
    hold = int((1 - DECAY) * len(windows))
    begun = time.monotonic() - spent
    print(f"{path.stem}: {network.size():,} parameters, {len(stream):,} tokens", flush=True)
    losses = []
    for step in range(first, len(windows)):
        for optimiser in (muon, adam):
            for group in optimiser.param_groups:
                group["lr"] = rate * rate_at(step, len(windows))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(windows[step][:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[step][:, 1:].flatten())
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        muon.step()
        adam.step()
        network.zero_grad(set_to_none=True)
        done = step + 1 == len(windows)
        if done or (step + 1) % 25 == 0:
            seconds = time.monotonic() - begun
            speed = (step + 1) * rows * length / seconds
            mean = sum(losses[-25:]) / len(losses[-25:])
            print(
                f"{path.stem} {step + 1}/{len(windows)} loss {mean:.3f} "
                f"{speed:,.0f} tokens/s {seconds:.0f} s",
                flush=True,
            )
        for where in [path] * (done or (step + 1) % 150 == 0) + [path.with_suffix(".hold")] * (
            step + 1 == hold
        ):
            save(
                where,
                network,
                step=step + 1,
                seconds=time.monotonic() - begun,
                done=done,
                muon=muon.state_dict(),
                adam=adam.state_dict(),
            )
    return network
