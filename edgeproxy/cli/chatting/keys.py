"""What a person types while a reply comes: it waits for the next prompt, and is not echoed amid it.

May touch: the modes of the terminal, for as long as `quiet_keys` lasts. Windows has none of them:
what is typed there is not echoed anyway.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from edgeproxy.cli.ui.output import is_terminal

_PASTE_ON, _PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
"""A paste comes between marks, so that the line editor takes it for one message."""


@contextlib.contextmanager
def quiet_keys() -> Iterator[None]:
    """Keys are kept for the line editor; Ctrl-C is heard as ever."""
    try:
        import termios
    except ImportError:
        yield
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        yield
        return
    keyboard = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(keyboard)
        modes = termios.tcgetattr(keyboard)
        # By the line, a terminal would keep no more than 4,096 characters of a paste.
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(keyboard, termios.TCSANOW, modes)
    except termios.error:
        yield
        return
    try:
        _write(_PASTE_ON)
        yield
    finally:
        _write(_PASTE_OFF)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(keyboard, termios.TCSANOW, before)


def _write(sequence: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(sequence)
        sys.stdout.flush()
