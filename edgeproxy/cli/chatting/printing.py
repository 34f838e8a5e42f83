"""How a reply is shown: as it is, or its markdown as styled text.

May touch: standard output. Either way text only ever follows text: nothing is moved or padded, and
unless it was asked for a terminal breaks the lines, so that what is copied is what was said.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Protocol

from edgeproxy.cli.chatting.markup import Markup, Span
from edgeproxy.cli.chatting.wrapping import Wrapping
from edgeproxy.cli.ui.output import clean, is_terminal, write

_STYLES = {
    "heading": "bold magenta",
    "strong": "bold",
    "emphasis": "italic",
    "struck": "strike",
    "code": "cyan",
    "link": "underline",
    "quote": "italic",
    "marker": "cyan",
    "fence": "dim",
    "row": "",
}
_NEVER_BROKEN = (("fence",), ("row",))
_COLOURS = "ansi_dark"
"""The colours of code: those that the terminal has chosen for its sixteen."""

_MOST_LEXED = 6000
"""So many characters of code are looked at for the colours of their last line."""


class Printer(Protocol):
    """Shows one reply."""

    def feed(self, text: str) -> None:
        """Show more of it. Raises `BrokenPipeError` as files do."""

    def end(self) -> None:
        """Show what was held back."""


class Plain:
    """Shows a reply as it is."""

    def feed(self, text: str) -> None:
        """As `Printer.feed`."""
        write(text)

    def end(self) -> None:
        """As `Printer.end`."""


class Rendered:
    """Shows a reply's markdown in a terminal, with rich. Raises `ImportError` without it.

    With `wraps` lines are broken between words, those of code and tables not.
    """

    def __init__(self, wraps: bool = False) -> None:
        from rich.console import COLOR_SYSTEMS, Console
        from rich.style import Style

        self._system = COLOR_SYSTEMS.get(Console(file=sys.stdout).color_system or "")
        self._styles = {name: Style.parse(style) for name, style in _STYLES.items()}
        self._none = Style.null()
        self._markup = Markup()
        self._code = _Code()
        self._wrapping = Wrapping(lambda: shutil.get_terminal_size().columns) if wraps else None

    def feed(self, text: str) -> None:
        """As `Printer.feed`."""
        self._show(self._markup.feed(clean(text)))

    def end(self) -> None:
        """As `Printer.end`."""
        self._show(self._markup.end())
        self._put(self._code.rest())
        if self._wrapping is not None:
            self._put([*self._wrapping.rest()])

    def _show(self, spans: Iterator[Span]) -> None:
        shown: list[tuple[str, Any]] = []
        for span in spans:
            if span.styles == ("block",):
                shown += self._kept(self._code.feed(span.text, span.language))
                continue
            shown += self._kept(self._code.rest())
            if span.text == "\n":
                self._code.end_line()
            elif span.styles == ("fence",):
                self._code = _Code()
            style = self._none
            for name in span.styles:
                style += self._styles[name]
            if self._wrapping is None:
                shown.append((span.text, style))
            else:
                breaks = span.styles not in _NEVER_BROKEN
                shown += self._wrapping.feed(span.text, style, breaks)
        self._put(shown)

    def _kept(self, shown: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Code, of which the lines stay as they are."""
        if self._wrapping is None:
            return shown
        return [each for text, style in shown for each in self._wrapping.feed(text, style, False)]

    def _put(self, shown: list[tuple[str, Any]]) -> None:
        out = "".join(
            style.render(text, color_system=self._system) if style else text
            for text, style in shown
        )
        if not out:
            return
        if sys.stdout is None:
            raise BrokenPipeError
        sys.stdout.write(out)
        sys.stdout.flush()


class _Code:
    """The lines of one block of code, coloured word by word as they come."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0
        self._lexer: Any = None
        self._theme: Any = None
        self._language = ""

    def feed(self, text: str, language: str) -> list[tuple[str, Any]]:
        """What can be shown now: all but the word under way, whose colour its end decides."""
        if language != self._language:
            self._begin(language)
        self._text += text
        end = len(self._text)
        while end > self._shown and (self._text[end - 1].isalnum() or self._text[end - 1] == "_"):
            end -= 1
        return self._upto(end)

    def rest(self) -> list[tuple[str, Any]]:
        """What was held back."""
        return self._upto(len(self._text))

    def end_line(self) -> None:
        """A line has ended, and was shown to have."""
        if self._text:
            self._text += "\n"
            self._shown = len(self._text)

    def _begin(self, language: str) -> None:
        from rich.syntax import Syntax

        self._language = language
        self._lexer = Syntax("", language).lexer
        self._theme = Syntax.get_theme(_COLOURS)

    def _upto(self, end: int) -> list[tuple[str, Any]]:
        start, self._shown = self._shown, max(end, self._shown)
        if end <= start:
            return []
        if self._lexer is None:
            return [(self._text[start:end], None)]
        # From the block's beginning, where it is not long: a text of several lines has one colour.
        first = 0 if end <= _MOST_LEXED else self._text.rfind("\n", 0, start) + 1
        shown = []
        for at, kind, word in self._lexer.get_tokens_unprocessed(self._text[first:end]):
            left, right = max(first + at, start), first + at + len(word)
            if right > left:
                shown.append((self._text[left:right], self._theme.get_style_for_token(kind)))
        return shown


def can_render() -> bool:
    """Whether markdown can be shown: a terminal with styles, wanted ones, and rich is there."""
    if not is_terminal(sys.stdout) or os.environ.get("NO_COLOR") or is_dumb():
        return False
    try:
        from rich.console import Console
    except ImportError:
        return False
    console = Console(file=sys.stdout)
    return console.color_system is not None and not console.legacy_windows


def is_dumb() -> bool:
    """Whether the terminal says that it can do nothing but show text."""
    return os.environ.get("TERM", "") in ("dumb", "unknown")
