"""The parts of a reply with what they were taken from, as a person and a program read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgeproxy.documents.passage import Passage

Span = tuple[int, int]

SHOWN = 160
"""So many characters of a part are shown."""


class Source(NamedTuple):
    """A passage that a part was taken from, and the stretch of its text that matches best.

    `lacks` has the names in the question, where the passage has none of them: it may be about
    something else.
    """

    passage: Passage
    quotation: str
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """What a stretch of a reply says, and the passages that hold it, the best one first.

    `start` and `end` are places in the reply, as are those of `words`, which stand in a passage,
    and of `unsupported`, numbers and names that stand in none. `score` is the share of what the
    part says anew that its passages hold, 0 to 1. An echo says nothing that the question does not.
    """

    start: int
    end: int
    text: str
    sources: tuple[Source, ...] = ()
    words: tuple[Span, ...] = ()
    unsupported: tuple[Span, ...] = ()
    score: float = 0.0
    is_echo: bool = False

    @property
    def passage(self) -> Passage | None:
        """The passage that holds most of it, or None."""
        return self.sources[0].passage if self.sources else None

    @property
    def passages(self) -> tuple[Passage, ...]:
        """All passages that it was taken from: two or three where it joins them."""
        return tuple(source.passage for source in self.sources)

    @property
    def is_supported(self) -> bool:
        """Whether a passage holds it, and every number and name in it stands in one."""
        return bool(self.sources) and not self.unsupported

    def said(self, span: Span) -> str:
        """What the reply says at one of `words` or `unsupported`."""
        return self.text[span[0] - self.start : span[1] - self.start]


def numbered(parts: Sequence[Part]) -> dict[Passage, int]:
    """The numbers of the cited passages, in the order in which the parts cite them, from 1 on."""
    cited = dict.fromkeys(passage for part in parts for passage in part.passages)
    return {passage: number for number, passage in enumerate(cited, 1)}


def in_words(parts: Sequence[Part]) -> list[str]:
    """Lines for a terminal: each cited passage once, numbered, then what no document says.

    A line holds no control characters and no halves of surrogate pairs, whatever a model wrote.
    """
    sources = {source.passage: source for part in reversed(parts) for source in part.sources}
    lines = [
        f'[{number}] {clean(passage.where)}: "{clean(sources[passage].quotation)}"'
        + _lacking(sources[passage])
        for passage, number in numbered(parts).items()
    ]
    for part in parts:
        if not part.sources and not part.is_echo:
            lines.append(f"from no document: {shortened(part.text)}")
        elif part.sources:
            lines += [f"in no document: {shortened(part.said(at))}" for at in part.unsupported]
    return list(dict.fromkeys(lines))


def _lacking(source: Source) -> str:
    names = " or ".join(f'"{clean(name)}"' for name in source.lacks)
    return f", which does not say {names}" if names else ""


def as_data(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The parts for JSON, places as in Python's `reply[start:end]`."""
    return [
        {
            "start": part.start,
            "end": part.end,
            "text": part.text,
            "sources": [
                {
                    "id": source.passage.id,
                    "file": str(source.passage.path),
                    "place": source.passage.place,
                    "trail": list(source.passage.trail),
                    "quotation": source.quotation,
                    "lacks": list(source.lacks),
                }
                for source in part.sources
            ],
            "words": [list(span) for span in part.words],
            "unsupported": [list(span) for span in part.unsupported],
            "score": round(part.score, 3),
            "echo": part.is_echo,
        }
        for part in parts
    ]


def clean(text: str) -> str:
    """`text` on one line, without control characters and halves of surrogate pairs."""
    kept = "".join(
        c if c.isprintable() or (unicodedata.category(c) == "Cf" and c in "\u200c\u200d") else " "
        for c in text
    )
    return " ".join(kept.split())


def shortened(text: str) -> str:
    """`text` as `clean` has it, with an ellipsis where it is long."""
    text = clean(text[: 4 * SHOWN])
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " ..."
