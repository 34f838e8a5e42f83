"""Plain text: what stands between blank lines."""

from __future__ import annotations

from collections.abc import Iterator

from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import Source, pieces

MAX_PIECE = 2000
"""Longer stretches, as of a log, are cut behind a line, so that places lead near."""


def read(source: Source) -> Iterator[Block]:
    """Its paragraphs, each with the line where it begins. Raises `OSError`."""
    for line, text in source.stretches():
        if len(text) <= MAX_PIECE:
            yield Block(text, (), f"line {line}")
            continue
        for piece in pieces(text, MAX_PIECE):
            yield Block(piece, (), f"line {line}")
            line += piece.count("\n")
