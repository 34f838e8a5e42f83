"""How a chat gets its lines: from a line editor, from a terminal without one, or from a pipe.

May touch: standard input.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING

from edgeproxy.cli.chatting.keys import quiet_keys
from edgeproxy.cli.chatting.printing import is_dumb
from edgeproxy.cli.chatting.quoting import PROMPT, is_open, without_quotes
from edgeproxy.cli.ui.input import lines_of_pipe
from edgeproxy.core.utf8 import check_text
from edgeproxy.errors import PromptError, UsageError

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import LineReader, Talk


def line_reader(talk: Talk, *, is_plain: bool = False) -> LineReader:
    """What reads the lines of `talk`.

    A person gets line editing: prompt_toolkit's where it is installed, else that of the platform.
    """
    if not talk.is_interactive:
        return _Pipe()
    if not is_plain and not is_dumb() and has_editor():
        from edgeproxy.cli.chatting.editor import Editor

        talk.hush = quiet_keys
        return Editor(talk)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` line editing
    return _Terminal()


def has_editor() -> bool:
    """Whether prompt_toolkit is installed."""
    return importlib.util.find_spec("prompt_toolkit") is not None


class _Pipe:
    def __init__(self) -> None:
        self._read = lines_of_pipe()

    def __call__(self, text: str = "") -> str:
        return self._read()


class _Terminal:
    def __call__(self, text: str = "") -> str:
        if text:
            raise UsageError("without a line editor, say what it is to be: /edit N TEXT")
        message = self._line(PROMPT)
        while is_open(message):
            message += "\n" + self._line("")
        return check_text(without_quotes(message), "the line")

    def _line(self, prompt: str) -> str:
        try:
            return check_text(input(prompt), "the line")
        except UnicodeDecodeError as error:
            raise PromptError(
                f"the line is not UTF-8 text: byte 0x{error.object[error.start]:02x}; set the "
                "terminal to UTF-8"
            ) from None
