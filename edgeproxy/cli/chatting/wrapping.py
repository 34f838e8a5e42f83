"""Lines broken between words, as text comes: a word waits until its end is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Styled = tuple[str, Any]
"""Some text and its style."""

_PARTS = re.compile(r"\n| +|[^\n ]+")


class Wrapping:
    """Breaks lines before the words that do not fit `width()` columns.

    A word that is wider than that is left to the terminal, and so is text that `feed` is told to
    leave as it is.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._column = 0
        self._blanks = ""
        self._word: list[Styled] = []

    def feed(self, text: str, style: Any, breaks: bool = True) -> Iterator[Styled]:
        """What can be shown now."""
        if not breaks:
            yield from self.rest()
            yield text, style
            _, newline, tail = text.rpartition("\n")
            self._column = cells_of(tail) + (0 if newline else self._column)
            return
        for part in _PARTS.findall(text):
            if part.isspace() and part != "\n":
                yield from self._end_word()
                self._blanks += part
            elif part == "\n":
                yield from self.rest()
                yield "\n", None
                self._column = 0
            else:
                self._word.append((part, style))

    def rest(self) -> Iterator[Styled]:
        """What was held back."""
        yield from self._end_word()
        blanks, self._blanks = self._blanks, ""
        if blanks:
            self._column += len(blanks)
            yield blanks, None

    def _end_word(self) -> Iterator[Styled]:
        if not self._word:
            return
        word, self._word = self._word, []
        blanks, self._blanks = self._blanks, ""
        width, size = self._width(), sum(cells_of(text) for text, _ in word)
        if self._column and blanks and self._column + len(blanks) + size > width:
            yield "\n", None
            self._column, blanks = 0, ""
        if blanks:
            yield blanks, None
        yield from word
        self._column += len(blanks) + size
        if self._column > width > 0:  # the terminal has broken it
            self._column %= width


def cells_of(text: str) -> int:
    """How many columns of a terminal a text takes; wide characters take two."""
    try:
        from rich.cells import cell_len
    except ImportError:
        return len(text)
    return cell_len(text)
