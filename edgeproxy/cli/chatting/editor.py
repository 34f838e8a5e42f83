"""The line editor at a terminal, with prompt_toolkit: history, completion, several lines.

May touch: the terminal, and what Ctrl-O starts: the editor that $VISUAL or $EDITOR names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from edgeproxy.cli.chatting.bottom import bottom_line
from edgeproxy.cli.chatting.completing import completions
from edgeproxy.cli.chatting.line_history import LineHistory, line_history
from edgeproxy.cli.chatting.quoting import PROMPT, is_open, without_quotes
from edgeproxy.core.utf8 import check_text

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk

_CONTINUED = "  "
"""What stands before the second line of a message, and those after it."""

_MENU_LINES = 6

_STYLE = Style.from_dict({"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold"})


class Editor:
    """Reads a message of a person's, of one line or many."""

    def __init__(self, talk: Talk, history: LineHistory | None = None) -> None:
        self._talk = talk
        self._session: PromptSession[str] = PromptSession(
            history=_Kept(history or line_history()),
            completer=_Names(),
            complete_while_typing=False,
            reserve_space_for_menu=_MENU_LINES,
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation=_CONTINUED,
            bottom_toolbar=self._bottom,
            enable_suspend=True,
            search_ignore_case=True,
            tempfile_suffix=".md",
            style=_STYLE,
        )

    def __call__(self, text: str = "") -> str:
        """As `LineReader`."""
        typed = self._session.prompt([("class:prompt", PROMPT)], default=text)
        return check_text(without_quotes(typed), "the line")

    def _bottom(self) -> str:
        return bottom_line(self._talk, self._session.output.get_size().columns - 1)


def _keys() -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def _another_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-o", filter=typing)
    def _edit(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    return keys


class _Names(Completer):
    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        line = document.text_before_cursor
        for word, what in completions(line):
            typed = _typed(line, word)
            yield Completion(word, start_position=-typed, display_meta=what)


def _typed(line: str, word: str) -> int:
    """How many of the last characters of `line` are the beginning of `word`."""
    most = min(len(line), len(word))
    return next((n for n in range(most, 0, -1) if line.endswith(word[:n])), 0)


class _Kept(History):
    """What was typed before, as prompt_toolkit reads it."""

    def __init__(self, lines: LineHistory) -> None:
        super().__init__()
        self._lines = lines

    def load_history_strings(self) -> Iterable[str]:
        return self._lines.newest_first()

    def store_string(self, string: str) -> None:
        self._lines.add(string)
