"""Work on bytes that a person waits for: how far it is, how fast, and an end at Ctrl-C.

May touch: standard error, the handler of SIGINT.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled
from edgeproxy.units import duration, in_units

_SPAN = 5.0
"""A rate is that of the last seconds: so many of them."""
_SAMPLES = 50
"""How many of those seconds' moments are remembered."""
_SOON = 1.0
"""Before so many seconds a rate would say little."""


class Rate:
    """How fast the bytes of one piece of work go by, told by its last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._seen: deque[tuple[float, int]] = deque()

    def in_words(self, done: int, total: int) -> str:
        """How far the work is, how fast it goes, and how long the rest will take."""
        text = f"{done / total if total else 1:.0%} of {in_units(total)}"
        a_second = self._see(done)
        if not a_second:
            return text
        left = duration((total - done) / a_second)
        return f"{text}, {in_units(round(a_second))}/s, {left} left"

    def took(self) -> str:
        """How long the work has taken so far."""
        return duration(self._clock() - self._started)

    def _see(self, done: int) -> float:
        """Remember that `done` bytes are done now; bytes a second, 0 where that is not known."""
        now, seen = self._clock(), self._seen
        if seen and done < seen[-1][1]:
            seen.clear()  # it began anew
        if not seen or now - seen[-1][0] >= _SPAN / _SAMPLES:
            seen.append((now, done))
        while now - seen[0][0] > _SPAN and len(seen) > 2:
            seen.popleft()
        (first, before), (last, after) = seen[0], seen[-1]
        return (after - before) / (last - first) if last - first >= _SOON else 0.0


class Working:
    """Tells a person how far work has come, and ends it at Ctrl-C; see `StatusLine`."""

    def __init__(self, patience: float = 0.5) -> None:
        self.stop = Flag()
        self.status = StatusLine(patience)
        self._rate, self._total, self._done = Rate(), -1, 0

    def tell(self, what: str) -> None:
        """`what` is under way."""
        if self.stop.is_set():
            raise Cancelled("interrupted")
        self.status.show(what)

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of the phase that `what` belongs to have been worked on."""
        if total != self._total or done < self._done:
            self._rate = Rate()
        self._total, self._done = total, done
        self.tell(f"{what}: {self._rate.in_words(done, total)}")


@contextlib.contextmanager
def working(patience: float = 0.5) -> Iterator[Working]:
    """Progress is shown, after `patience` seconds, and Ctrl-C heard, for as long as this lasts."""
    work = Working(patience)
    with on_interrupt(work.stop.set):
        try:
            yield work
        finally:
            work.status.clear()
