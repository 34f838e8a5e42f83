"""Choosing the passages that hold what a part of a reply says anew; the rules are in `citing`."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeproxy.documents.tokens import Token

SHORT = 3
"""A part of so many tokens has to stand whole in a passage ..."""
NEAR = 4
"""... within so many more tokens than it has."""
WHOLE, SHARE = 0.8, 0.5
"""The shares of a short and of a longer part's weight that a passage has to hold."""
JOINS, TOGETHER = 0.25, 0.6
"""The share that a further passage has to add, and that two without a half each have to hold."""
MOST_SOURCES = 3
ENOUGH, LITTLE = 0.85, 0.55
"""Evidence of less weight asks for the question too, and below `LITTLE` for more of it."""
WELL, SOMEWHAT = 0.5, 0.25
"""The shares of the question that a passage has to hold besides little and weaker evidence."""
STRONG = 0.65
"""A token of so much weight is evidence by itself; less than that takes `SEVERAL`."""
SEVERAL = 3
_NO_NAME = 0.3
"""A name of less weight is an initial."""


@dataclass(frozen=True)
class New:
    """A token that the question does not have.

    `found` has, by the number of a passage, how well it matches there, 0 to 1, and its places.
    `is_form` marks a form of a word of the question, and `beside` has the passages where that word
    stands.
    """

    token: Token
    weight: float
    is_form: bool = False
    found: dict[int, tuple[float, list[int]]] = field(default_factory=dict)
    beside: Set[int] = frozenset()

    @property
    def is_unheard_of(self) -> bool:
        """Whether it is a number or a name that stands in no passage."""
        if self.found or self.is_form:
            return False
        return self.token.number is not None or (
            self.token.is_name and self.token.weight >= _NO_NAME
        )


class Context(NamedTuple):
    """How much of the question, and of question and reply, a passage holds."""

    question: float
    all: float


class _Share(NamedTuple):
    passage: int
    covered: float
    share: float
    held: list[New]


def choose(new: Sequence[New], context: Sequence[Context]) -> list[int]:
    """The numbers of the passages that hold `new`, the best one first; none where none does."""
    numbers = sorted({number for one in new for number in one.found})
    shares = [_share(new, number) for number in numbers]
    short = len(new) <= SHORT
    asked = max((each.question for each in context), default=0.0)
    fit = [
        share
        for share in shares
        if (_stands_whole(share, len(new)) if short else _is_good(share, SHARE))
        and _is_asked_for(share, context[share.passage].question, asked)
    ]
    best = max(fit, key=lambda share: _rank(share, context), default=None)
    if best:
        return [best.passage] if short else _with_others(best, new, shares)
    return [] if short else _two(new, shares, context)


def _share(new: Sequence[New], number: int) -> _Share:
    held = [one for one in new if number in one.found]
    covered = sum(one.weight * one.found[number][0] for one in held)
    total = sum(one.weight for one in new if number in one.found or number not in one.beside)
    return _Share(number, covered, covered / total if total else 0.0, held)


def _rank(share: _Share, context: Sequence[Context]) -> tuple[float, float, int]:
    return round(share.share, 1), context[share.passage].all, -share.passage


def _stands_whole(share: _Share, n_new: int) -> bool:
    return share.share >= WHOLE and _are_near(share, n_new)


def _are_near(share: _Share, n_new: int) -> bool:
    """Whether all that the passage holds of a short part stands in one stretch of it."""
    rows = [one.found[share.passage][1] for one in share.held]
    within = n_new + NEAR
    return any(
        all(any(abs(at - place) <= within for at in row) for row in rows)
        for place in min(rows, key=len)
    )


def _is_good(share: _Share, least: float) -> bool:
    return share.share >= least and _is_evidence(share.held)


def _is_evidence(held: Sequence[New]) -> bool:
    return len(held) >= SEVERAL or any(one.weight >= STRONG for one in held)


def _is_asked_for(share: _Share, question: float, most: float) -> bool:
    if share.covered >= ENOUGH:
        return True
    if share.covered >= LITTLE:
        return question >= SOMEWHAT and question >= most
    return question >= WELL


def _with_others(best: _Share, new: Sequence[New], shares: Sequence[_Share]) -> list[int]:
    chosen = [best.passage]
    total = sum(one.weight for one in new)
    while len(chosen) < MOST_SOURCES:
        added = [(_added(share, chosen), share.passage) for share in shares]
        adding = [(weight, -n) for (weight, good), n in added if good and weight >= JOINS * total]
        if not adding:
            break
        chosen.append(-max(adding)[1])
    return chosen


def _added(share: _Share, chosen: Sequence[int]) -> tuple[float, bool]:
    """The weight that a passage holds and those `chosen` do not, and whether it is evidence."""
    more = [one for one in share.held if not any(number in one.found for number in chosen)]
    return sum(one.weight * one.found[share.passage][0] for one in more), _is_evidence(more)


def _two(new: Sequence[New], shares: Sequence[_Share], context: Sequence[Context]) -> list[int]:
    """Two passages that hold enough together, though neither does by itself."""
    best = max(
        (share for share in shares if _is_good(share, JOINS)),
        key=lambda share: _rank(share, context),
        default=None,
    )
    if best is None:
        return []
    chosen = _with_others(best, new, shares)[:2]
    total = sum(one.weight for one in new)
    held = sum(one.weight for one in new if any(number in one.found for number in chosen))
    return chosen if len(chosen) > 1 and held >= TOGETHER * total else []
