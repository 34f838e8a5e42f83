"""Child processes of this package: how one is started, whatever program this is, and how it ended.

A frozen app (PyInstaller, Nuitka) has no Python beside it: `sys.executable` is the app itself. It
calls `main` before anything else, and is then its own children, too; or EDGEPROXY_PYTHON names a
Python that has edgeproxy.

May touch: the environment variable EDGEPROXY_PYTHON, read only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

PYTHON = "EDGEPROXY_PYTHON"
MODULES = (
    "edgeproxy.prompts.jinja",
    "edgeproxy.tune.llama_child",
    "edgeproxy.measure.judging.pattern_child",
    "edgeproxy.worker.child",
)
"""What is run in a child: the function `main` of one of these."""

_MARK = "--edgeproxy-child"
_FOLDER = Path(__file__).parents[1]
# Not the working directory, which may hold modules of anyone's.
_CODE = (
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from edgeproxy.children import run; run(sys.argv[2])"
)
_SOURCE = re.compile(r"\S*[/\\](?=[\w.+-]+:\d+: )")
"""What stands before the name of a file of llama.cpp's source code, and the line."""
_LONGEST, _TOLD = 2000, 200
"""Characters of a line that are looked at, and that are told."""
_WINDOWS = {
    0xC0000005: "an access violation",
    0xC000001D: "an illegal instruction",
    0xC00000FD: "a stack overflow",
    0xC0000017: "a want of memory",
    0xC0000409: "an abort",
}
"""What Windows gives as exit codes of processes that crashed."""

_starts_itself = False
"""Whether this program calls `main`, so that it can be started as a child."""


def main() -> None:
    """Be a child where this process was started as one; else note that it can be, and return.

    A frozen app calls this first of all. Raises `SystemExit` at the end of a child.
    """
    global _starts_itself
    if sys.argv[1:2] == [_MARK] and len(sys.argv) == 3:
        run(sys.argv[2])
        raise SystemExit(0)
    _starts_itself = True


def run(module: str) -> None:
    """Do what the child `module` does. Raises `ValueError` for one that is none of `MODULES`."""
    if module not in MODULES:
        raise ValueError(f"edgeproxy has no child {module!r}")
    import_module(module).main()


def python() -> str:
    """The Python that children run in: EDGEPROXY_PYTHON where it is set, or this one; "" for none.

    A program that was frozen into an executable is none: it would be started a second time.
    """
    named = os.environ.get(PYTHON)
    if named or not getattr(sys, "frozen", False):
        return named or sys.executable or ""
    return ""


def command(module: str) -> list[str]:
    """What starts a child that runs `module`, one of `MODULES`; empty where nothing can."""
    found = python()
    if found:
        return [found, "-c", _CODE, str(_FOLDER), module]
    return [sys.executable, _MARK, module] if _starts_itself and sys.executable else []


def own_group() -> dict[str, Any]:
    """Arguments of `Popen` for a process group of its own: Ctrl-C at a terminal is not for it."""
    if sys.platform == "win32":
        new_group = subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": new_group | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def signal_of(code: int) -> str | None:
    """The name of the signal that ended a process with this exit code of `Popen`; None for none."""
    if code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def how_ended(code: int) -> str:
    """How a process with this exit code of `Popen` has ended, to follow its name in a sentence."""
    name = signal_of(code)
    if name is not None:
        return f"was ended by {name}"
    if code in _WINDOWS:
        return f"was ended by {_WINDOWS[code]}"
    return f"ended with exit code {code}"


def last_words(lines: Sequence[str]) -> str:
    """The last line that says something of what a process wrote, for a person to read.

    Without control characters, and without the folder that llama.cpp was built in.
    """
    last = next((line for line in map(str.strip, reversed(lines)) if line), "")
    return "".join(filter(str.isprintable, _SOURCE.sub("", last[:_LONGEST])[:_TOLD]))
