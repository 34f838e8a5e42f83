"""Rows of which only the likeliest tokens are known, as a server gives them, made whole.

Of the others two things are certain: none is likelier than the least likely one that is known, and
together they have the rest of the probability,

    rest = 1 - sum of p(x) over the known x.

How that rest lies among them nobody says. Here it lies as the anti-expert has it, which is what the
base's relation to the expert rests on anyway, each held below what is certain:

    base(x) = min(log rest + log anti(x) - log sum of anti(y) over the unknown y, least known)

So fused rows rank unknown tokens as the expert does, on the scale that the rest allows.

Which token is the best one is not left to that. With the largest value that an unknown token can
have, `bounded_rows`, the fused row either has a known token as its best one, which then is the best
for certain, or an unknown one. Of such a row more is asked for, or, where the server gives no more,
that token's log-probability. On real models it matters: where the expert writes another form than
the base, the fused row's best token was at the base's rank 200 to 10,000 in a tenth of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeproxy.core.model import Logits, Model

_LEAST_REST = 1e-7
"""A rest below what float32 sums of probabilities can tell from none."""


_SLACK = 2e-4
"""By so much llama-server's sums over 49,152 tokens were seen to be off: no bound is closer."""

PLAUSIBLE = 0.01
"""Asked for are tokens that the expert gives at least so much of its best one's probability."""


class Partial(Model, Protocol):
    """A `Model` whose rows leave tokens out, as -inf."""

    def widen(self, row: int) -> bool:
        """Tell more of a row of those last returned, counted from 0, in the array that they are in.

        False where no more of it can be told. Raises as `eval` does.
        """

    @property
    def can_look_up(self) -> bool:
        """Whether it can say what a token is that it has left out."""

    def look_up(self, row: int, token: int) -> float | None:
        """The log-probability of a token in a row of those last returned, counted from 0.

        None where it cannot be known. Raises as `eval` does.
        """


@dataclass
class Coverage:
    """How many rows were partial, in how many the expert's best token was not known; of how many
    more was asked for, and how many tokens were.
    """

    rows: int = 0
    missed: int = 0
    widened: int = 0
    asked: int = 0

    @property
    def share(self) -> float | None:
        """The share of rows that knew the expert's best token; None where there were none."""
        return 1.0 - self.missed / self.rows if self.rows else None


def least_known(base: Logits) -> Logits:
    """The least likely token of each row as a server gave it, shape (rows, 1).

    What is asked for later is no bound for others.
    """
    known = np.where(np.isneginf(base), np.float32(np.inf), base)
    return np.asarray(known.min(axis=-1, keepdims=True))


def whole_rows(base: Logits, anti_expert: Logits, least: Logits | None = None) -> Logits:
    """Log-probabilities for every token, of `base`, where those that are not known are -inf.

    Both of shape (rows, n_vocab); `least` is what `least_known` has said of the rows, where more
    has been asked for since. Returns a new array; a row that knows all is as it was.
    """
    out: Logits = base.copy()
    least = least_known(base) if least is None else least
    for row, anti, bound in zip(out, anti_expert, least[:, 0], strict=True):
        unknown = np.isneginf(row)
        if not unknown.any() or unknown.all():
            continue
        known = row[~unknown]
        of_anti = anti[unknown].astype(np.float64)
        largest = of_anti.max()
        total = largest + np.log(np.exp(of_anti - largest).sum())
        row[unknown] = np.minimum(_log_rest(known) + of_anti - total, bound)
    return out


def bounded_rows(base: Logits, least: Logits) -> Logits:
    """`base` with the largest values that tokens can have of which nothing is known."""
    out: Logits = base.copy()
    for row, bound in zip(out, least[:, 0], strict=True):
        unknown = np.isneginf(row)
        known = row[~unknown]
        if len(known):
            row[unknown] = min(_log_rest(known, _SLACK), float(bound))
    return out


def doubtful(base: Logits, expert: Logits, most: Logits) -> list[tuple[int, int]]:
    """Rows and tokens that may be a row's best one and are not known: (row, token), one a row.

    `most` are the fused rows of `bounded_rows`; all of shape (rows, n_vocab). Only tokens count
    that the expert finds plausible. A token that the mask leaves alone in its row is the best one,
    whatever the base says of it.
    """
    least = expert.max(axis=-1, keepdims=True) + np.float32(math.log(PLAUSIBLE))
    counts = ~np.isneginf(base) | (expert >= least)
    most = np.where(counts, most, -np.inf)
    best = most.argmax(axis=-1)
    has_rival = np.isfinite(most).sum(axis=-1) > 1
    return [
        (row, int(token))
        for row, token in enumerate(best)
        if has_rival[row] and np.isneginf(base[row, token])
    ]


def parting(fused: Logits, read: Sequence[int], doubtful_rows: Sequence[int]) -> int:
    """The row, for certain, whose best token is not what was read next; the last one otherwise.

    The rows follow the last tokens of `read`.
    """
    last = len(fused) - 1
    following = read[len(read) - last :] if last else []
    for row, token in enumerate(following):
        if row not in doubtful_rows and int(fused[row].argmax()) != token:
            return row
    return last


def _log_rest(known: Logits, slack: float = 0.0) -> float:
    """log of the probability that the known tokens of a row leave to the others, and `slack`."""
    rest = 1.0 - float(np.exp(known.astype(np.float64)).sum())
    return math.log(max(rest, _LEAST_REST) + slack)


def count_coverage(coverage: Coverage, base: Logits, expert: Logits) -> None:
    """Note of each row of `base`, -inf where it is not known, whether it has the expert's best."""
    best = expert.argmax(axis=-1)
    coverage.rows += len(base)
    coverage.missed += int(np.isneginf(base[np.arange(len(base)), best]).sum())
