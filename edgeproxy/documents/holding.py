"""What each of some passages holds: its words, numbers and groups of signs, with their places."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

from edgeproxy.documents.alike import Forms
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.tokens import Token, tokens
from edgeproxy.text.numbers import PlacedNumber

EXACT, FORM, ROUNDED, INITIALS = 1.0, 0.9, 0.8, 0.9
"""How much of a token's weight counts, by how it matches."""

_MANY = 4
"""From so many passages on, what stands in most of them weighs less."""
_MOST, _LESS = 0.5, 0.6
_INITIALS = range(2, 7)
"""How many letters a word of initials has: CFA, for Communauté Financière Africaine."""
_POSITIONS = 500
"""So many places of a word are looked at in one passage."""

_Key = TypeVar("_Key", bound=Hashable)

Positions = dict[int, list[int]]
"""By the number of a passage: the places of a token in its row of tokens."""


class Hit(NamedTuple):
    """Where a token stands: by the number of a passage, its grade and its places."""

    grade: float
    positions: Positions


class Held:
    """Passages to be asked for tokens. `weight` gives a folded word's weight: 0 common, 1 rare."""

    def __init__(
        self, passages: Sequence[Passage], weight: Callable[[str], float] | None = None
    ) -> None:
        self.passages = passages
        self.spans: list[list[tuple[int, int] | None]] = []
        self._weight = weight
        self._words: dict[str, Positions] = {}
        self._numbers: dict[Fraction, Positions] = {}
        self._initials: dict[str, Positions] = {}
        for number, passage in enumerate(passages):
            self._add(number, passage)
        self._forms = Forms(self._words)
        self._sorted = sorted(self._numbers)
        self._known: dict[tuple[str, bool, bool], list[Hit]] = {}

    def _add(self, number: int, passage: Passage) -> None:
        of_trail = [token for part in passage.trail for token in tokens(part)]
        of_text = tokens(passage.text)
        self.spans.append([None] * len(of_trail) + [(one.start, one.end) for one in of_text])
        for at, token in enumerate(of_trail + of_text):
            if token.number:
                for value in readings(token.number):
                    _note(self._numbers, value, number, at)
            else:
                _note(self._words, token.key, number, at)
        rows = [(at, one) for at, one in enumerate(of_trail + of_text) if one.weight]
        for first in range(len(rows)):
            letters = ""
            for at, token in rows[first : first + _INITIALS.stop - 1]:
                letters += token.key[:1]
                if at - rows[first][0] >= 2 * len(letters) or not token.key:
                    break
                if len(letters) in _INITIALS:
                    _note(self._initials, letters, number, rows[first][0])

    def weigh(self, token: Token) -> float:
        """How much `token` proves: less where it stands in most of many passages."""
        if self._weight is not None and token.number is None and token.weight:
            return token.weight * max(0.0, min(1.0, self._weight(token.key)))
        if len(self.passages) >= _MANY and token.weight:
            holding = {n for hit in self.hits(token) for n in hit.positions}
            if len(holding) > _MOST * len(self.passages):
                return token.weight * _LESS
        return token.weight

    def apart(self, token: Token, words: Container[str]) -> tuple[list[Hit], set[int]]:
        """The hits of a word where no form of it among `words` counts; the passages of those."""
        forms = self._forms.of(token.key, is_name=token.may_be_name)
        other = _joined(self._words[form] for form in forms if form not in words)
        exact = Hit(EXACT, self._words.get(token.key, {}))
        loose = self._forms.of(token.key)
        left_out = {n for form in loose if form in words for n in self._words[form]}
        return _once([exact, Hit(FORM, other)]), left_out

    def hits(self, token: Token) -> list[Hit]:
        """Where `token` stands, the closest matches first; each passage in one hit only."""
        if token.number:
            return self._number_hits(token.number)
        initials = token.is_name and len(token.key) in _INITIALS
        name = (token.key, token.is_name, token.may_be_name)
        if name not in self._known:
            found = [Hit(EXACT, self._words.get(token.key, {}))]
            forms = self._forms.of(token.key, is_name=token.may_be_name)
            found.append(Hit(FORM, _joined(self._words[form] for form in forms)))
            if initials:
                found.append(Hit(INITIALS, self._initials.get(token.key, {})))
            self._known[name] = _once(found)
        return self._known[name]

    def _number_hits(self, placed: PlacedNumber) -> list[Hit]:
        exact = _joined(self._numbers.get(value, {}) for value in readings(placed))
        return _once([Hit(EXACT, exact), Hit(ROUNDED, self._rounded(placed))])

    def _rounded(self, placed: PlacedNumber) -> Positions:
        """Numbers that are the given one when they are rounded to its digits.

        Only where it shows what it is rounded to, by decimals or by a word such as "million", and
        has two digits or more: a year is no rounded year.
        """
        value, step = placed.number.value, placed.step
        if step == 1 or abs(value) < 10 * step:
            return {}
        near = []
        at = bisect_left(self._sorted, value - step / 2)
        while at < len(self._sorted) and self._sorted[at] <= value + step / 2:
            near.append(self._numbers[self._sorted[at]])
            at += 1
            if len(near) >= _POSITIONS:
                break
        return _joined(near)


def readings(placed: PlacedNumber | None) -> tuple[Fraction, ...]:
    """The values that a number can be read as; none where there is no number."""
    return () if placed is None else tuple(v for v in placed.number if v is not None)


def _note(table: dict[_Key, Positions], key: _Key, number: int, at: int) -> None:
    places = table.setdefault(key, {}).setdefault(number, [])
    if len(places) < _POSITIONS:
        places.append(at)


def _joined(all_positions: Iterable[Positions]) -> Positions:
    joined: Positions = {}
    for positions in all_positions:
        for number, places in positions.items():
            joined[number] = sorted({*joined.get(number, ()), *places})[:_POSITIONS]
    return joined


def _once(hits: Iterable[Hit]) -> list[Hit]:
    seen: set[int] = set()
    kept = []
    for hit in hits:
        new = {number: at for number, at in hit.positions.items() if number not in seen}
        seen.update(new)
        if new:
            kept.append(Hit(hit.grade, new))
    return kept
