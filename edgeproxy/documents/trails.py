"""The headings that stand above a place in a document."""

from __future__ import annotations

from edgeproxy.documents.cleaning import one_line
from edgeproxy.documents.passage import Block

MAX_HEADING = 200
"""How many characters of a heading go into a trail."""


class Headings:
    """The headings above where a reader is; a lower level number stands further out."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []
        self._lone: Block | None = None

    @property
    def trail(self) -> tuple[str, ...]:
        """Their texts, from the outside in. Whoever asks has something below the last of them."""
        self._lone = None
        return tuple(text for _, text in self._open)

    def add(self, level: int, text: str, place: str = "") -> Block | None:
        """Note a heading; a block of the one before, where nothing stands below that."""
        text = one_line(text)[:MAX_HEADING]
        lone = None
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
            lone, self._lone = lone or self._lone, None
        if text:
            self._lone = Block(text, tuple(outer for _, outer in self._open), place)
            self._open.append((level, text))
        return lone

    def end(self) -> Block | None:
        """A block of the last heading, where nothing stands below it."""
        lone, self._lone = self._lone, None
        return lone
