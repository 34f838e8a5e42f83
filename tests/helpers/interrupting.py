"""Runs `edgeproxy ARGUMENTS` and presses Ctrl-C (SIGINT) at one moment of a tuning.

    python -m tests.helpers.interrupting WHEN ARGUMENTS...
    python -m tests.helpers.interrupting --times ARGUMENTS...

WHEN is what the tuning says that it does, or begins so; or call:MODULE.NAME:N, the N-th call of a
function there. The signal comes once, at the beginning of it. --times does all of `MOMENTS` in turn
and prints after how many seconds the command had ended, and its process, which has PyTorch to leave
behind; ARGUMENTS then name a folder that is not there yet.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTS = (
    *("hashing ", "reading ", "finding out what is fastest", "loading "),
    *("comparing with llama.cpp before training", "call:edgeproxy.tune.run.predictions:1"),
    *("finding out how many threads are fastest", "call:edgeproxy.tune.train.backward:1"),
    *("call:edgeproxy.tune.held_out.total_loss:1", "call:edgeproxy.tune.checkpoint.replacing:1"),
    *("call:edgeproxy.tune.train.backward:5", "call:edgeproxy.tune.held_out.total_loss:2"),
    *("call:edgeproxy.tune.run.write_adapter:1", "comparing with llama.cpp: PyTorch reads"),
    *("call:edgeproxy.tune.check.predictions:6", "comparing with llama.cpp: it reads and replies"),
)
CALL = "call:"
NOT_REACHED = 99
PRESSED = "pressed at "


def main() -> None:
    """Do as the arguments say; the exit code is edgeproxy's, 99 where the moment never came."""
    when, *arguments = sys.argv[1:]
    if when == "--times":
        _times(arguments)
        return
    from edgeproxy.cli import main as edgeproxy

    presses: list[float] = []
    _press_at(when, presses)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = edgeproxy(arguments)
    if presses and "EDGEPROXY_TEST_TIMES" in os.environ:
        print(f"{PRESSED}{presses[0]} {time.monotonic()}", file=sys.stderr)
    sys.exit(code if presses else NOT_REACHED)


def _press_at(when: str, presses: list[float]) -> None:
    """Have Ctrl-C pressed then, once, and the time noted."""

    def press() -> None:
        if not presses:
            presses.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    if when.startswith(CALL):
        path, _, count = when.removeprefix(CALL).partition(":")
        name, _, function = path.rpartition(".")
        place = importlib.import_module(name)
        setattr(place, function, _pressing(getattr(place, function), int(count), press))
        return
    from edgeproxy.cli.ui.tuning import Shown

    doing = Shown.doing

    def pressing(self: Shown, what: str) -> None:
        doing(self, what)
        if what.startswith(when):
            press()

    Shown.doing = pressing  # type: ignore[method-assign]


def _pressing(work: Callable[..., Any], at: int, press: Callable[[], None]) -> Callable[..., Any]:
    calls = 0

    def pressed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            press()
        return work(*arguments, **named)

    return pressed


def _times(arguments: list[str]) -> None:
    """Print for each moment how long the process went on after Ctrl-C, and its exit code."""
    folder = Path(arguments[arguments.index("-o") + 1])
    for when in MOMENTS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.interrupting", when, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "EDGEPROXY_TEST_TIMES": "1"},
        )
        ended = time.monotonic()
        last = done.stderr.splitlines()[-1]
        if last.startswith(PRESSED):
            pressed, returned = map(float, last.removeprefix(PRESSED).split())
            took = f"{returned - pressed:6.2f} s, {ended - pressed:6.2f} s"
        else:
            took = f"not reached: {last}"
        print(f"{took}  exit code {done.returncode:3}  {when}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
