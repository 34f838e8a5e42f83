"""What a base elsewhere has told of its last rows; asks it for more where that decides a token.

May touch: the base, and the array that its last rows are in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.partial import (
    Coverage,
    Partial,
    bounded_rows,
    count_coverage,
    doubtful,
    least_known,
    parting,
    whole_rows,
)
from edgeproxy.decode.steering import Steering

ASKED = 3
"""So often more is asked for at most, for each row that leaves tokens out."""


class Told:
    """The rows that `base` gave last, -inf where it has told nothing (see `partial`)."""

    def __init__(self, base: Partial) -> None:
        self._base = base
        self._rows: Logits = np.empty((0, len(base.vocab)), np.float32)
        self._least = least_known(self._rows)
        self._left: list[int] = []  # how often each row may still be asked about
        self.coverage = Coverage()

    def begin(self, rows: Logits, expert: Logits) -> None:
        """Take new rows, in the array in which the base will tell more of them."""
        count_coverage(self.coverage, rows, expert)
        self._rows, self._least = rows, least_known(rows)
        self._left = [ASKED] * len(rows)

    def whole(self, rows: Logits, anti_expert: Logits) -> Logits:
        """`rows`, these or a copy of some, with a guess for every token that is not known."""
        return whole_rows(rows, anti_expert, self._least if rows is self._rows else None)

    def learn(
        self,
        expert: Logits,
        anti_expert: Logits,
        steering: Steering,
        fused: Logits,
        read: Sequence[int],
        by_name: bool,
    ) -> bool:
        """Ask about the earliest row whose best token may be an unknown one, if there is any.

        All arrays have as many rows, `fused` those of all three models. Rows after one that goes on
        otherwise than the text that was `read` are of no use to anyone. More of a row is asked for,
        and where none is to be had, and `by_name` allows it, that token. Returns whether anything
        was learnt, so that the rows are to be fused anew. Raises as the base's `eval`.
        """
        if not steering.base_weight:
            return False
        while np.isneginf(self._rows).any():
            most = fuse(bounded_rows(self._rows, self._least), expert, anti_expert, steering)
            found = doubtful(self._rows, expert, most)
            doubt = next((each for each in found if self._left[each[0]]), None)
            if doubt is None or parting(fused, read, [row for row, _ in found]) < doubt[0]:
                return False
            if self._asked(*doubt, by_name):
                return True
        return False

    def _asked(self, row: int, token: int, by_name: bool) -> bool:
        self._left[row] -= 1
        if self._base.widen(row):
            self.coverage.widened += 1
            self._least[row] = least_known(self._rows[row : row + 1])[0]
            return True
        value = None
        if by_name and self._base.can_look_up:
            self.coverage.asked += 1
            value = self._base.look_up(row, token)
        if value is None:
            self._left[row] = 0
            return False
        self._rows[row, token] = value
        return True
