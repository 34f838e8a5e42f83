"""How long a draft should be: costs and acceptance, learnt while decoding. No models here.

A cycle with a draft of g tokens lets the expert run g steps ahead and then evaluates g + 1 rows.
With a the chance that a drafted token is what is drawn, it yields 1 + a + ... + a^g tokens
(Leviathan et al., 2023, arXiv 2211.17192, equation 1). The best g has the most of them a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from itertools import pairwise
from statistics import median

LONGEST = 11
"""The longest draft that is ever tried."""

_RECENT = 9
_STALE = 300
_MEMORY = 0.98
_HOPE = 0.2
"""A row beyond the first is hoped to cost this share of the first one, until it was measured."""

_BINS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)


class DraftLength:
    """Running estimates of seconds and chances, and the draft length that they recommend."""

    def __init__(self) -> None:
        self._seconds: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._cycle = 0
        self._last: dict[int, int] = {}
        self._ahead: deque[float] = deque(maxlen=_RECENT)
        # Hits and tries by how sure the expert was; a beginning as sure as it says.
        edges = (0.0, *_BINS, 1.0)
        self._tries = [[(low + high) * 2, 4.0] for low, high in pairwise(edges)]
        self._all = [3.0, 4.0]

    def took(self, rows: int, seconds: float) -> None:
        """Note the time of `rows` rows, the expert having run ahead for all but the last."""
        self._seconds[rows].append(seconds)
        self._cycle += 1
        self._last[rows] = self._cycle
        # What has not been tried for long may cost something else by now.
        for other, cycle in list(self._last.items()):
            if other > 1 and cycle < self._cycle - _STALE:
                del self._last[other]
                self._seconds[other].clear()

    def ran_ahead(self, seconds: float) -> None:
        """Note the time of one step of the expert alone."""
        self._ahead.append(seconds)

    def saw(self, is_hit: bool, sureness: float | None = None) -> None:
        """Note whether the expert's favourite was drawn, and how sure of it the expert was."""
        counts = [self._all]
        if sureness is not None:
            counts.append(self._tries[_bin(sureness)])
        for count in counts:
            count[0] = count[0] * _MEMORY + is_hit
            count[1] = count[1] * _MEMORY + 1.0

    def chance(self, sureness: float) -> float:
        """How likely the expert's favourite is to be drawn when it is so sure of it."""
        hits, tries = self._tries[_bin(sureness)]
        return hits / tries

    def rows_seconds(self, rows: int) -> float:
        """Seconds for `rows` rows: measured, or hoped for from what was measured nearest."""
        if self._seconds[rows]:
            return median(self._seconds[rows])
        known = sorted(n for n, times in self._seconds.items() if times)
        if not known:
            return 0.0
        below = max((n for n in known if n < rows), default=None)
        if below is None:
            return self.rows_seconds(known[0]) / (1 + _HOPE * (known[0] - rows))
        first = self.rows_seconds(1) if below > 1 else self.rows_seconds(below)
        return self.rows_seconds(below) + _HOPE * first * (rows - below)

    def ahead_seconds(self) -> float:
        """Seconds of a step of the expert alone; until measured, a tenth of a step of all three."""
        return median(self._ahead) if self._ahead else self.rows_seconds(1) / 10

    def seconds_a_token(self, length: int) -> float:
        """Expected seconds a token with drafts of `length` tokens; 0 is stepwise."""
        hits, tries = self._all
        chance = min(hits / tries, 0.999)
        tokens = (1 - chance ** (length + 1)) / (1 - chance)
        return (length * self.ahead_seconds() + self.rows_seconds(length + 1)) / tokens

    def length(self, most: int = LONGEST) -> int:
        """The draft length, at most `most`, that is expected to be fastest; 0 is stepwise."""
        if not self._seconds[1]:
            return 0
        return min(range(min(most, LONGEST) + 1), key=self.seconds_a_token)

    def is_worth(self, chance: float, drafted: int, length: int) -> bool:
        """Whether a token that stands with `chance`, all before it included, joins a draft.

        `drafted` tokens are in it, `length` are planned.
        """
        rest = max(1, length - drafted)
        extra = self.rows_seconds(drafted + 1 + rest) - self.rows_seconds(drafted + 1)
        return chance * self.seconds_a_token(length) > extra / rest


def _bin(sureness: float) -> int:
    return bisect_right(_BINS, sureness)
