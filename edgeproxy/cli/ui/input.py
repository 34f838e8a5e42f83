"""What a person types or pipes in, as text.

May touch: standard input; where there is one, the terminal, through a line editor.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from edgeproxy.cli.ui.output import is_terminal
from edgeproxy.core.utf8 import check_text, decode
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


def only_text(_: click.Context, param: click.Parameter, value: Any) -> Any:
    """The callback of an argument or option that models will read, once or several times.

    Raises `PromptError` where it is no text.
    """
    is_option = param.param_type_name == "option"
    name = param.opts[0] if is_option else f"the argument {param.human_readable_name}"
    for text in (value,) if isinstance(value, str) else value or ():
        check_text(text, name)
    return value


def is_interactive() -> bool:
    """Whether a person sits at both ends."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def line_reader(completions: Sequence[str]) -> Callable[[], str]:
    """A function that returns the next line that was entered, and raises `EOFError` at the end.

    It raises `PromptError` for a line that is no text, or too long; the next line can be read then.
    A person gets line editing: prompt_toolkit's where it is installed, else that of the platform.
    """
    if not is_interactive():
        return _line_of_pipe(itertools.count(1))
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
    except ImportError:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` line editing

        return _line_of_terminal
    completer = WordCompleter(list(completions), sentence=True)
    session: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
    return lambda: check_text(session.prompt(_PROMPT), "the line")


def _line_of_terminal() -> str:
    try:
        return check_text(input(_PROMPT), "the line")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"the line is not UTF-8 text: byte 0x{error.object[error.start]:02x}; set the terminal "
            "to UTF-8"
        ) from None


def _line_of_pipe(numbers: Iterator[int]) -> Callable[[], str]:
    def read() -> str:
        if sys.stdin is None:
            raise EOFError
        pipe = sys.stdin.buffer
        data = pipe.readline(_MAX_INPUT_BYTES + 1)
        if not data:
            raise EOFError
        name = f"line {next(numbers):,} of standard input"
        if len(data) > _MAX_INPUT_BYTES:
            while data and not data.endswith(b"\n"):
                data = pipe.readline(_MAX_INPUT_BYTES)
            raise PromptError(f"{name} has more than {_MAX_INPUT_BYTES:,} bytes; send a part of it")
        return decode(data, name).rstrip("\r\n")

    return read
