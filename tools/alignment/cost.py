"""The part of `tools.alignment` that needs no weights: what aligning costs at real size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgeproxy.align import ProjectedModel, align, match
from edgeproxy.align.cache import tables_for
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.llama import Weights
from tools.alignment.loading import own_cache


class RandomRows:
    """A model of real shape that says random rows at once, so that only aligning takes time.

    The logits are normal with the standard deviation `spread`: near 1 a row is flat, as random
    weights make it; from 8 on a few tokens lead, as a trained model's do.
    """

    def __init__(self, vocab: Vocab, seed: int, spread: float) -> None:
        self.vocab = vocab
        self.n_ctx = 1 << 30
        self.n_past = 0
        self.can_rewind = True
        self.evaluated = 0
        random = np.random.default_rng(seed)
        self._rows = random.normal(0.0, spread, (32, len(vocab))).astype(np.float32)

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """Rows that depend on how much has been read alone."""
        self.n_past += len(tokens)
        self.evaluated += len(tokens)
        return self._rows[[(self.n_past + n) % 32 for n in range(rows)]]

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        self.n_past -= n

    def branch(
        self, trunk: Sequence[int], others: Sequence[tuple[int, Sequence[int]]] = ()
    ) -> list[Logits]:
        """As `Branching.branch`."""
        self.evaluated += sum(len(path) for _, path in others)
        kept = self.eval(trunk, len(trunk)) if trunk else self._rows[:0]
        return [kept, *(self._rows[: len(path)] for _, path in others)]


def cost(base_vocab: Path, pair_vocab: Path, text: Path, tokens: int) -> list[dict[str, Any]]:
    """Times in milliseconds a token, medians, while the trio is made to read `text`."""
    with (
        Weights(base_vocab, vocab_only=True) as base_weights,
        Weights(pair_vocab, vocab_only=True) as pair_weights,
        own_cache(),
    ):
        base, own = base_weights.vocab, pair_weights.vocab
        built, kept = (_seconds_to_align(base, own) for _ in range(2))
        read = base.encode(text.read_text(encoding="utf-8"))[:tokens]
        rows = []
        for name, spread in (("peaked", 8.0), ("flat", 1.0)):
            for what, look in (("projection and fusion", False), ("with a closer look", True)):
                times, expert = _step(base, own, read, spread, look)
                rows.append(
                    {
                        "rows": name,
                        "what": what,
                        "median ms": 1e3 * median(times),
                        "mean ms": 1e3 * float(np.mean(times)),
                        "90% ms": 1e3 * float(np.percentile(times, 90)),
                        "evaluations a token": expert.cost.evaluated / expert.cost.base_tokens,
                        "ideal": expert.cost.ideal / expert.cost.base_tokens,
                        "ratio": expert.cost.ratio,
                        "built in s": built,
                        "from disk in s": kept,
                    }
                )
        return rows


def _seconds_to_align(base: Vocab, own: Vocab) -> float:
    # Copies, because a vocabulary remembers what was worked out of it.
    base, own = replace(base), replace(own)
    started = time.perf_counter()
    tables_for(base, own)
    return time.perf_counter() - started


def _step(
    base: Vocab, own: Vocab, read: Sequence[int], spread: float, look: bool
) -> tuple[list[float], ProjectedModel]:
    """Seconds for each token of the text, and the expert that has read it.

    With `look` a trio's whole step, which looks more closely at tokens that lead; without, both
    projections and the fusion.
    """
    found = match(base, own)
    base_model = RandomRows(base, 1, spread)
    expert, anti = (RandomRows(own, seed, spread) for seed in (2, 3))
    aligned = align(expert, anti, base, (found, found))
    first = aligned.expert
    if not isinstance(first, ProjectedModel):
        raise SystemExit("these vocabularies need no projection")
    trio = Trio(base_model, first, aligned.anti_expert, Steering(plausibility=0.01))
    start = first.own([next(n for n, text in enumerate(own.texts) if text)])
    trio.eval(RoleTokens([0], start, start))
    out = np.empty((1, len(base)), np.float32)
    times = []
    for token in read:
        began = time.perf_counter()
        if look:
            trio.eval([token])
        else:
            rows = [model.eval([token]) for model in trio.models]
            fuse(rows[0], rows[1], rows[2], Steering(plausibility=0.01), out)
        times.append(time.perf_counter() - began)
    return times, first
