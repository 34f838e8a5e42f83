"""What documents are made of: blocks, as a reader finds them, and passages, as models read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TRAIL = " - "
"""What stands between the parts of a trail where it is written."""


class Block(NamedTuple):
    """A stretch of a document that a reader has found: a paragraph, a row, a field.

    `trail` is what leads to it, from the outside in: headings, or the names of fields. `place` says
    where a person finds it: "line 12", "page 3", "row 7".
    """

    text: str
    trail: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True)
class Passage:
    """A stretch of a document as models read it, of a size that an index has chosen.

    `id` is its number in the index, `number` its place among its document's, counted from 0.
    """

    id: int
    path: Path
    number: int
    trail: tuple[str, ...]
    place: str
    text: str

    @property
    def full_text(self) -> str:
        """Its text behind its trail: "Chad - Economy - Currency: ..."."""
        return f"{TRAIL.join(self.trail)}: {self.text}" if self.trail else self.text

    @property
    def where(self) -> str:
        """Its file and place, as a person looks for them."""
        return f"{self.path}, {self.place}" if self.place else str(self.path)
