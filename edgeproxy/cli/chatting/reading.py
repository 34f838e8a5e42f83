"""How far the reading of a prompt is, on a line that is wiped when the reply begins.

May touch: standard error.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeproxy.cli.ui.output import StatusLine, is_terminal
from edgeproxy.units import duration

_PATIENCE = 1.0
"""Seconds before anything is shown."""
_HOW_TO_STOP = " (Ctrl-C stops)"
_PAUSE = 0.1
"""Seconds between two looks."""


class PromptReading:
    """How far the reading of prompts is, one at a time, and how fast it was lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0.0
        self._started = clock()
        self._at = 0, 0, self._started
        self._over = threading.Event()

    def progress(self, done: int, total: int) -> None:
        """As `PromptProgress`: so many of the tokens have been read. From any thread."""
        now = self._clock()
        if not done:
            self._started = now
        elif now > self._started:
            self._rate = done / (now - self._started)
        self._at = done, total, now

    def in_words(self) -> str:
        """What there is to say of it: tokens, the share that was read, the time left."""
        done, total, then = self._at
        words = f"reading {total:,} tokens" if total != 1 else "reading a token"
        if not total or not self._rate:
            return f"{words} ..."
        # Models tell of whole batches; between two of them it goes on as it did.
        at = min(done + (self._clock() - then) * self._rate, total - 1)
        left = duration(max((total - at) / self._rate, 1.0))
        return f"{words}: {at / total:.0%}, {left} left"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While this lasts, and until `end`, a person sees it where it takes over a second."""
        self._at = 0, 0, self._clock()
        self._over = threading.Event()
        watcher = None
        if is_terminal(sys.stderr):
            watcher = threading.Thread(target=self._watch, args=(self._over,), daemon=True)
            watcher.start()
        self._watcher = watcher
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """The reply begins: wipe the line, for good. A second call does nothing."""
        self._over.set()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        status = StatusLine(_PATIENCE)
        while not over.wait(_PAUSE):
            words = self.in_words()
            has_room = len(words) + len(_HOW_TO_STOP) < shutil.get_terminal_size().columns
            status.show(words + _HOW_TO_STOP if has_room else words)
        status.clear()

    _watcher: threading.Thread | None = None
