"""What a person types or pipes in, as text.

May touch: standard input.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import click

from edgeproxy.cli.ui.output import is_terminal
from edgeproxy.core.utf8 import check_text, decode
from edgeproxy.errors import PromptError

_MAX_INPUT_BYTES = 8 << 20


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


def lines_of_pipe() -> Callable[[], str]:
    """A function that returns the next line that was piped in; `EOFError` at the end.

    It raises `PromptError` for a line that is no text, or too long; the next one can be read then.
    """
    numbers = itertools.count(1)

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
