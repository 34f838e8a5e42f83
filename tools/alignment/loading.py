"""The part of `tools.alignment` that times starts: what aligning adds to reading the files."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import edgeproxy
from edgeproxy.align import match_pair
from edgeproxy.align.cache import tables_for
from edgeproxy.core.vocab import Vocab
from edgeproxy.llama import Weights


def load(base: Path, pair: Path, rounds: int) -> list[dict[str, Any]]:
    """Seconds to have `base` and `pair` in memory, medians of `rounds` in turn, and as ratios.

    The model file `pair` is both expert and anti-expert, which share its weights. "first start"
    finds no alignment kept, "later start" does, and "kept alignment" is the part of it that
    relates the vocabularies and reads their tables.
    """

    def read() -> None:
        for path in (base, pair):
            Weights(path).close()

    def start() -> None:
        edgeproxy.load(base=base, expert=pair, anti_expert=pair).close()

    seconds: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        seconds.setdefault(what, []).append(time.perf_counter() - started)

    with Weights(base, vocab_only=True) as base_weights, Weights(pair, vocab_only=True) as own:
        for _ in range(rounds):
            with own_cache():
                timed("reading the files", read)
                timed("first start", start)
                timed("later start", start)
                # Copies, because a vocabulary remembers what was worked out of it.
                vocabs = replace(base_weights.vocab), replace(own.vocab)
                timed("kept alignment", partial(_align, *vocabs))
    whole = median(seconds["reading the files"])
    return [
        {"what": what, "median s": median(times), "of reading": median(times) / whole}
        for what, times in seconds.items()
    ]


def _align(base: Vocab, own: Vocab) -> None:
    if match_pair(base, own, own)[0].case == "different":
        tables_for(base, own)


@contextmanager
def own_cache() -> Iterator[Path]:
    """Alignments are kept in an empty folder meanwhile, and gone afterwards."""
    before = os.environ.get("EDGEPROXY_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEPROXY_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["EDGEPROXY_CACHE"]
            if before is not None:
                os.environ["EDGEPROXY_CACHE"] = before
