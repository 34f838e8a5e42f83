"""Blocks, as readers find them -> passages: neighbours joined, long ones cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeproxy.documents.cutting import TOLERANCE, pieces
from edgeproxy.documents.passage import Block
from edgeproxy.documents.sizes import Ratios

SIZE = 160
"""Tokens that a passage has, about."""

OVERLAP = 30
"""Tokens of a long paragraph, of passages of `SIZE`, that end one and begin the next."""

MIN_SIZE, MAX_SIZE = 16, 2048
"""What may be asked for as a size."""

_BETWEEN = "\n"
"""What stands between blocks that became one passage."""

# UTF-8 has no lone surrogates, and a zero ends a text for whatever is written in C.
_IMPOSSIBLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Sizing:
    """How large the passages of an index are: `size` tokens, counted by `ratios`."""

    size: int = SIZE
    ratios: Ratios = field(default_factory=Ratios)

    @property
    def overlap(self) -> float:
        """Tokens that passages of one long paragraph have in common."""
        return self.size * OVERLAP / SIZE


class Cut(NamedTuple):
    """A passage that has no number yet."""

    trail: tuple[str, ...]
    place: str
    text: str


def passages(blocks: Iterable[Block], sizing: Sizing) -> Iterator[Cut]:
    """The passages that `blocks` make, in order.

    Neighbours under one trail are joined while they fit; what is larger by itself is cut. The text
    of a passage does not repeat its trail, and what is empty is left out.
    """
    ratios, size = sizing.ratios, sizing.size
    waiting: list[str] = []
    trail: tuple[str, ...] = ()
    place, tokens = "", 0.0
    for block in blocks:
        text = _clean(block.text).strip()
        if not text:
            continue
        more = ratios.tokens(text)
        if waiting and (block.trail != trail or tokens + more > size):
            yield Cut(_clean_trail(trail), _clean(place), _BETWEEN.join(waiting))
            waiting, tokens = [], 0.0
        if more > size * TOLERANCE:
            clean = _clean_trail(block.trail)
            for begin, end in pieces(text, ratios, size, sizing.overlap):
                if piece := text[begin:end].strip():
                    yield Cut(clean, _clean(block.place), piece)
            continue
        if not waiting:
            trail, place = block.trail, block.place
        waiting.append(text)
        tokens += more
    if waiting:
        yield Cut(_clean_trail(trail), _clean(place), _BETWEEN.join(waiting))


def _clean(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return _IMPOSSIBLE.sub("\ufffd", text)


def _clean_trail(trail: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_clean, trail))
