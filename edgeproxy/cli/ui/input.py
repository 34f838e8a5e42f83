"""What a person types or pipes in, as text.

May touch: standard input; where there is one, the terminal, through a line editor.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from edgeproxy.cli.ui.output import is_terminal
from edgeproxy.errors import PromptError

_MAX_INPUT_BYTES = 8 << 20
_PROMPT = "> "


def read_standard_input() -> str:
    """All of standard input as text, without the end of its last line.

    Raises `PromptError` for bytes that are not UTF-8, and for more than can be read.
    """
    if sys.stdin is None:
        raise PromptError("standard input is closed; give the prompt as an argument")
    data = sys.stdin.buffer.read(_MAX_INPUT_BYTES + 1)
    if len(data) > _MAX_INPUT_BYTES:
        raise PromptError(f"standard input has more than {_MAX_INPUT_BYTES:,} bytes; send a part")
    return decode(data, "standard input").removesuffix("\n").removesuffix("\r")


def decode(data: bytes, name: str) -> str:
    """`data` as text. Raises `PromptError` naming the byte that is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{name} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}; "
            "convert it first"
        ) from None


def is_interactive() -> bool:
    """Whether a person sits at both ends."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def line_reader(completions: Sequence[str]) -> Callable[[], str]:
    """A function that returns the next line that was entered, and raises `EOFError` at the end.

    A person gets line editing: prompt_toolkit's where it is installed, else that of the platform.
    """
    if not is_interactive():
        return _read_line
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
    except ImportError:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` line editing

        return lambda: input(_PROMPT)
    completer = WordCompleter(list(completions), sentence=True)
    session: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
    return lambda: session.prompt(_PROMPT)


def _read_line() -> str:
    if sys.stdin is None:
        raise EOFError
    data = sys.stdin.buffer.readline(_MAX_INPUT_BYTES + 1)
    if not data:
        raise EOFError
    if len(data) > _MAX_INPUT_BYTES:
        raise PromptError(f"a line has more than {_MAX_INPUT_BYTES:,} bytes; send a part of it")
    return decode(data, "a line of standard input").rstrip("\r\n")
