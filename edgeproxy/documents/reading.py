"""What reads one file for an index, and the plainest of such readers.

May touch: the file that it is given, read only.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from edgeproxy.documents.passage import Block
from edgeproxy.files import blocks as bytes_of


class Opened(NamedTuple):
    """A document that is being read: its kind, its encoding, and its blocks, once."""

    kind: str
    encoding: str
    blocks: Iterator[Block]


Reader = Callable[[Path], Opened]
"""Opens a document. It, and the blocks, may raise `DocumentError` and `OSError`."""

_LARGE = 1 << 16
"""A paragraph of so many characters is given in parts."""


def read_text(path: Path) -> Opened:
    """A text file in UTF-8: paragraphs, parted by empty lines."""
    return Opened("text", "utf-8", _paragraphs(path))


def _paragraphs(path: Path) -> Iterator[Block]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, line = "", 1
    for data in bytes_of(path):
        parts = (rest + decoder.decode(data)).split("\n\n")
        rest = parts.pop()
        for part in parts:
            if part.strip():
                yield Block(part, (), f"line {line}")
            line += part.count("\n") + 2
        while len(rest) > _LARGE:
            # At a space, for a word is not cut.
            place = rest.rfind(" ", 0, _LARGE) + 1 or _LARGE
            yield Block(rest[:place], (), f"line {line}")
            line += rest.count("\n", 0, place)
            rest = rest[place:]
    if rest.strip():
        yield Block(rest, (), f"line {line}")
