"""Ctrl-C while a model works: the work is asked to stop, nothing is torn out of llama.cpp.

May touch: the handler of SIGINT, for as long as `on_interrupt` or `no_interrupt` lasts.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Presses:
    """How often Ctrl-C was pressed."""

    count = 0


@contextlib.contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[Presses]:
    """Call `stop` at each Ctrl-C; the third raises `KeyboardInterrupt`, should `stop` not help.

    Where the process was told to ignore Ctrl-C, as behind `nohup`, that holds.
    """
    presses = Presses()

    def pressed(_signal: int, _frame: object) -> None:
        presses.count += 1
        stop()
        if presses.count > 2:
            raise KeyboardInterrupt

    with _handling(pressed):
        yield presses


@contextlib.contextmanager
def no_interrupt() -> Iterator[None]:
    """Ctrl-C does nothing at all, however often it is pressed."""
    with _handling(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], object] | signal.Handlers,
) -> Iterator[None]:
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if previous in (signal.SIG_IGN, None) or not in_main_thread:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
