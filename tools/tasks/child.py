"""A step of the measuring as a process of its own, which gives its memory back and can be ended.

May touch: the files that it is given; the handler of SIGTERM, while a child runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeproxy.errors import Cancelled

_LOOK_EVERY = 0.2  # seconds

Runner = Callable[[Sequence[str], Path, Path, Callable[[], None]], int]
"""(arguments of edgeproxy, file of its output, file of what it says, what is called as it lasts)
-> its exit code."""


def run_edgeproxy(
    arguments: Sequence[str], output: Path, log: Path, tick: Callable[[], None]
) -> int:
    """Run `edgeproxy ARGUMENTS`; its exit code, negative where a signal has ended it.

    What it says is appended to `log`. Where `tick` raises `Cancelled`, it is interrupted as by
    Ctrl-C and given the time to end; whatever else is raised here terminates it.
    """
    command = [sys.executable, "-m", "edgeproxy", *arguments]
    with (
        output.open("wb") as out,
        log.open("ab") as said,
        _terminated_cleanly(),
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=said) as child,
    ):
        try:
            try:
                return _wait(child, tick)
            except Cancelled:
                if os.name == "posix":
                    # A terminal has told it already; to be told twice makes it hurry.
                    child.send_signal(signal.SIGINT)
                else:
                    child.terminate()
                child.wait()
                raise
        except Cancelled:
            raise
        except BaseException:
            child.terminate()
            raise


def _wait(child: subprocess.Popen[bytes], tick: Callable[[], None]) -> int:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK_EVERY)
        tick()


@contextlib.contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM ends the child too, which would else go on alone for an hour."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
