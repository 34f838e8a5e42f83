"""The numbers that matter to a person, for `--stats`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeproxy.complete import Piece


class Meter:
    """Times one reply while its pieces pass through `watch`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first = self._last = self._started
        self.tokens = 0

    def watch(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The same pieces, counted and timed."""
        for piece in pieces:
            if piece.token is not None:
                self._last = time.perf_counter()
                if self.tokens == 0:
                    self._first = self._last
                self.tokens += 1
            yield piece

    def line(self, load_seconds: float) -> str:
        """Tokens, tokens per second, time to the first one, load time and peak memory."""
        parts = [f"{self.tokens} tokens"]
        if self.tokens > 1 and self._last > self._first:
            parts.append(f"{(self.tokens - 1) / (self._last - self._first):.1f} tokens/s")
        if self.tokens:
            parts.append(f"first token after {self._first - self._started:.2f} s")
        return ", ".join([*parts, f"loaded in {load_seconds:.2f} s", *peak_memory()])


def peak_memory() -> list[str]:
    """The most memory this process has held, where the system tells."""
    if sys.platform == "win32":
        return []
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    return [f"peak memory {peak / (1e6 if sys.platform == 'darwin' else 1e3):.0f} MB"]
