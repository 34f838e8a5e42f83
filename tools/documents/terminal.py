"""What a terminal gets of edgeproxy's command line, and what of it would drive the terminal.

May touch: a child process on a pseudo-terminal, which Linux and macOS have.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence

from edgeproxy.errors import EdgeproxyError, UsageError

_HARMLESS = "\n\r\t"
"""A carriage return wipes edgeproxy's own line that tells how far it is."""
_OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_TAGS = range(0xE0000, 0xE1000)
_LOOK_EVERY = 0.1  # seconds
_GRACE = 10.0  # seconds
_READ = 1 << 16  # bytes


def raw(data: bytes) -> list[str]:
    """The characters in what a terminal got that drive it, or hide: in order, each as often."""
    return [c for c in data.decode("utf-8", "replace") if c not in _HARMLESS and _drives(c)]


def _drives(character: str) -> bool:
    return (
        unicodedata.category(character) == "Cc"
        or character in _OVERRIDES
        or ord(character) in _TAGS
    )


def shown(arguments: Sequence[str], tick: Callable[[], None] = lambda: None) -> bytes:
    """All that a terminal gets of `python ARGUMENTS`, without colours.

    `tick` is called ten times a second; what it raises ends the child. Raises `UsageError` where
    there are no pseudo-terminals, and `EdgeproxyError` where the child fails.
    """
    if sys.platform == "win32":
        raise UsageError("Windows has no pseudo-terminal to look at; look on Linux or macOS")
    ours, theirs = os.openpty()
    try:
        try:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
            )
        finally:
            os.close(theirs)
        try:
            data = _all(ours, tick)
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    finally:
        os.close(ours)
    if code:
        last = data.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise EdgeproxyError(f"{' '.join(arguments[:4])} ended with {code}: {' '.join(last)}")
    return data


def _all(ours: int, tick: Callable[[], None]) -> bytes:
    found = bytearray()
    # Linux tells by an error that the other side has ended, macOS by an empty read.
    with contextlib.suppress(OSError):
        while True:
            if select.select([ours], [], [], _LOOK_EVERY)[0]:
                data = os.read(ours, _READ)
                if not data:
                    break
                found += data
            tick()
    return bytes(found)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    until = time.monotonic() + _GRACE
    while child.poll() is None:
        if time.monotonic() > until:
            child.kill()
            child.wait()
            return
        time.sleep(_LOOK_EVERY)
