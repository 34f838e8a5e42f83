"""Whether drawn tokens follow a distribution: what to expect of each beginning, and chi-square.

A cell is a beginning of what is drawn, or one that ends with `REST`: all others that go on from
there. Only beginnings that are expected often enough are looked into, so that a vocabulary of any
size gives few cells, and few rows are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.errors import UsageError

Tokens = tuple[int, ...]
Cells = dict[Tokens, float]

REST = -1
"""In the place of a token: every one that has no cell of its own."""

LEAST = 5.0
"""Cells of which less is expected are pooled: chi-square is no good approximation for them."""


class Fit(NamedTuple):
    """The chi-square statistic, its degrees of freedom, and draws that have no probability."""

    statistic: float
    freedom: int
    impossible: int

    @property
    def p(self) -> float:
        """The chance of a statistic as large or larger, were the draws from the distribution.

        Raises `UsageError` where scipy is missing, or nothing but one cell is expected.
        """
        if self.impossible:
            return 0.0
        if not self.freedom:
            raise UsageError("only one outcome is expected often enough; draw more samples")
        try:
            from scipy.stats import chi2
        except ImportError as error:
            raise UsageError(
                f"this needs scipy ({error}): run pip install '.[dev]' in the clone"
            ) from None
        return float(chi2.sf(self.statistic, self.freedom))


def probabilities(row: Logits, temperature: float) -> NDArray[np.float64]:
    """softmax(row / temperature) in float64; a masked token's logit is -inf, and so it has none."""
    scaled = row.astype(np.float64) / temperature
    out: NDArray[np.float64] = np.exp(scaled - scaled.max())
    out /= out.sum()
    return out


def expected(
    row_after: Callable[[Tokens], Logits], temperature: float, draws: int, length: int
) -> Cells:
    """How often each cell is expected in `draws` draws of `length` tokens.

    `row_after` gives the logits that follow a beginning; it is asked parents first, depth first.
    """
    cells: Cells = {}

    def look_into(beginning: Tokens, times: float) -> None:
        chances = times * probabilities(row_after(beginning), temperature)
        often = chances >= LEAST
        rest = (*beginning, REST)
        cells[rest] = float(chances[~often].sum())
        for token in np.flatnonzero(often).tolist():
            longer = (*beginning, token)
            if len(longer) < length:
                look_into(longer, float(chances[token]))
            else:
                cells[longer] = float(chances[token])

    look_into((), float(draws))
    return cells


def counted(draws: Iterable[Tokens], cells: Mapping[Tokens, float]) -> Cells:
    """How often each of `cells` was drawn."""
    counts = dict.fromkeys(cells, 0.0)
    for drawn in draws:
        cell = drawn
        # Looked into is what has a rest: the longest such beginning is where this draw belongs.
        for end in range(len(drawn) - 1, -1, -1):
            if cell in cells:
                break
            cell = (*drawn[:end], REST)
        counts[cell] += 1
    return counts


def fit(counts: Mapping[Tokens, float], cells: Mapping[Tokens, float], length: int) -> Fit:
    """How well the first `length` tokens of what was drawn fit what was expected."""
    drawn, wanted = _begun(counts, length), _begun(cells, length)
    seen = np.array([drawn[cell] for cell in wanted])
    hoped = np.array(list(wanted.values()))
    impossible = int(seen[hoped == 0.0].sum())
    order = np.argsort(hoped)
    seen, hoped = seen[order], hoped[order]
    # The rare cells become one, with as many of the others as make it large enough.
    pooled = max(int(np.searchsorted(np.cumsum(hoped), LEAST)) + 1, int((hoped < LEAST).sum()))
    seen = np.append(seen[pooled:], seen[:pooled].sum())
    hoped = np.append(hoped[pooled:], hoped[:pooled].sum())
    return Fit(float(((seen - hoped) ** 2 / hoped).sum()), len(hoped) - 1, impossible)


def together(fits: Sequence[Fit]) -> Fit:
    """Independent draws from several distributions, as one."""
    statistics, freedoms, impossible = zip(*fits, strict=True)
    return Fit(sum(statistics), sum(freedoms), sum(impossible))


def _begun(cells: Mapping[Tokens, float], length: int) -> Cells:
    """`cells` of no more than `length` tokens: what begins with the same belongs together."""
    out: Cells = {}
    for cell, times in cells.items():
        out[cell[:length]] = out.get(cell[:length], 0.0) + times
    return out
