"""Ctrl-C while a model works: the work is asked to stop, nothing is torn out of llama.cpp.

May touch: the handler of SIGINT, for as long as `on_interrupt` lasts.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


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

    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if previous in (signal.SIG_IGN, None) or not in_main_thread:
        yield presses
        return
    signal.signal(signal.SIGINT, pressed)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, previous)
