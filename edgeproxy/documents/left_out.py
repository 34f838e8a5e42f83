"""How much less likely each part of a reply is where a passage is left out of what was read.

Leave-one-out attribution. With the passages d_1 ... d_k, the reliance of a part on d_i is

    drop_i = log p(part | all passages) - log p(part | all but d_i)

in nats, where log p(part | ...) is the sum of log p(token | prompt, the reply before it) over the
tokens that the part's text is of. By such drops Cohen-Wang et al., 2024 (ContextCite, arXiv
2409.00729) measure attributions; what they fit a linear model for, too many sources to leave out
each, does not arise with three.

What cannot be seen so: where two passages hold the same, the reply needs neither; and a part that
repeats an earlier part of the reply is taken from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproxy.documents.cited import Part, clean, numbered, shortened
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.pieces import pieces
from edgeproxy.documents.quoting import quotation

Progress = Callable[[str, float], None]
"""Gets what is under way, and the share of all that is done."""

LEAST_DROP = math.log(10.0)
"""In nats: a part that is not ten times as likely with a passage was not taken from it.

Passages that do not hold a value change its likelihood, too, through their words and their length.
"""

_MOST_TIMES = 1_000_000
"""More is told as "over a million times"."""


@dataclass(frozen=True)
class Reliance:
    """A stretch of a reply, and how much less likely it is without each passage.

    `start` and `end` are places in the reply. `drops` are of the `passages`, in their order, in
    nats; one below 0 is of a passage without which the part is likelier.
    """

    start: int
    end: int
    text: str
    passages: tuple[Passage, ...] = ()
    drops: tuple[float, ...] = ()

    @property
    def drop(self) -> float:
        """The largest of its drops, 0 where there is none."""
        return max(self.drops, default=0.0)

    @property
    def passage(self) -> Passage | None:
        """The passage that it needs most, or None where it is about as likely without any."""
        if self.drop < LEAST_DROP:
            return None
        return self.passages[self.drops.index(self.drop)]


def touched(reply: str, spans: Sequence[tuple[int, int]]) -> int:
    """How many tokens of a reply have to be scored: up to the last one that is of a part.

    `spans` are the characters of the reply that each token is of, [start, end).
    """
    parts = [(piece.start, piece.end) for piece in pieces(reply)]
    places = (n for n in range(len(spans), 0, -1) if any(_meet(spans[n - 1], p) for p in parts))
    return next(places, 0)


def reliances(
    reply: str,
    spans: Sequence[tuple[int, int]],
    passages: Sequence[Passage],
    whole: Sequence[float],
    without: Sequence[Sequence[float]],
) -> list[Reliance]:
    """The parts of `reply`, as `citing` has them, with their drops.

    `whole` are the log-probabilities of its tokens, as many as `touched` says, where all passages
    were read, and `without` those where each one was left out, in the order of `passages`.
    """
    found = []
    for piece in pieces(reply):
        part = (piece.start, piece.end)
        of_it = [n for n, span in enumerate(spans) if _meet(span, part)]
        drops = (math.fsum(whole[n] - scores[n] for n in of_it) for scores in without)
        text = reply[piece.start : piece.end]
        found.append(Reliance(*part, text, tuple(passages), tuple(drops)))
    return found


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def in_words(found: Sequence[Reliance], parts: Sequence[Part]) -> list[str]:
    """Lines for a terminal, to stand below those of `cited.in_words` for the same reply's `parts`.

    They use its numbers; a passage that it does not name gets the next one and a line. A part that
    neither way finds a source for has none. Safe for a terminal, as those lines.
    """
    numbers = numbered(parts)
    by_place = {(part.start, part.end): part for part in parts}
    lines: list[str] = []
    for each in found:
        passage, part = each.passage, by_place.get((each.start, each.end))
        if passage is not None and passage not in numbers:
            numbers[passage] = len(numbers) + 1
            lines.append(f"[{numbers[passage]}] {_shown(passage)}")
        if line := _compared(each, part, numbers):
            lines.append(f"{line}: {shortened(each.text)}")
    return lines


def _shown(passage: Passage) -> str:
    return f'{clean(passage.where)}: "{clean(quotation(passage.text, ()))}"'


def _compared(each: Reliance, part: Part | None, numbers: Mapping[Passage, int]) -> str:
    """What leaving out says of a part, and what its words say where that is something else."""
    by_words = part.passages if part is not None else ()
    told = " and ".join(f"[{numbers[passage]}]" for passage in by_words)
    if each.passage is None:
        return f"by its words from {told}, but about as likely without it" if by_words else ""
    line = f"{times(each.drop)} less likely without [{numbers[each.passage]}]"
    if each.passage in by_words or part is None or part.is_echo:
        return line
    return f"{line}, but by its words from {told or 'no document'}"


def times(drop: float) -> str:
    """A drop of `LEAST_DROP` or more as a person says it, in two digits: "1,300 times"."""
    if drop >= math.log(_MOST_TIMES):
        return "over a million times"
    value = math.exp(drop)
    return f"{round(value, 1 - math.floor(math.log10(value))):,.0f} times"


def as_data(found: Sequence[Reliance]) -> list[dict[str, Any]]:
    """The parts for JSON: of each the id of its source or null, and the drops in nats."""
    return [
        {
            "start": each.start,
            "end": each.end,
            "text": each.text,
            "source": each.passage.id if each.passage is not None else None,
            "drops": [
                {"id": passage.id, "nats": round(drop, 4)}
                for passage, drop in zip(each.passages, each.drops, strict=True)
            ],
        }
        for each in found
    ]
