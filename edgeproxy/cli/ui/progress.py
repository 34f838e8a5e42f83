"""Work on bytes that a person waits for: how far it is, how fast, and an end at Ctrl-C.

May touch: standard error, the handler of SIGINT.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled


class Working:
    """Tells a person how far work has come, and ends it at Ctrl-C."""

    def __init__(self) -> None:
        self.stop = Flag()
        self.status = StatusLine()
        self._pace = Pace()

    def tell(self, what: str) -> None:
        """`what` is under way."""
        if self.stop.is_set():
            raise Cancelled("interrupted")
        self.status.show(what)

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of the phase that `what` belongs to have been worked on."""
        self.tell(f"{what}: {self._pace.in_words(done, total)}")


class Pace:
    """How fast bytes go by, from the start of each phase."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._last = self._first = 0
        self._start = clock()

    def in_words(self, done: int, total: int) -> str:
        """How far it is, how fast, and how long the rest will take."""
        from edgeproxy.units import in_units

        now = self._clock()
        if total != self._total or done < self._last:
            self._total, self._start, self._first = total, now, done
        self._last = done
        text = f"{done / total if total else 1:.0%} of {in_units(total)}"
        seconds = now - self._start
        if seconds < 1.0 or done == self._first:
            return text
        rate = (done - self._first) / seconds
        return f"{text}, {in_units(round(rate))}/s, {(total - done) / rate:.0f} s left"


@contextlib.contextmanager
def working() -> Iterator[Working]:
    """Progress is shown, and Ctrl-C heard, for as long as this lasts."""
    work = Working()
    with on_interrupt(work.stop.set):
        try:
            yield work
        finally:
            work.status.clear()
