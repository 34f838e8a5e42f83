"""Whether a share is known well enough, and whether two systems differ at all.

Two systems answer the same questions, so they are compared in pairs: questions that both answer
right, or both wrong, say nothing about which one is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIGNIFICANT = 0.05
"""A difference whose p is below this is called one."""

_Z = 1.959963984540054
"""The normal distribution has 95% between -_Z and _Z."""


class Interval(NamedTuple):
    """Where a share of 1 lies, with 95% confidence."""

    low: float
    high: float


def interval(right: int, n: int) -> Interval:
    """The 95% interval of a share of `right` out of `n`.

    Wilson's score interval (1927), which holds for few questions and for shares near 0 and 1 too.
    Raises `ValueError` where `right` is not from 0 to `n`, or `n` is 0.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} of {n} is no share")
    share, z2 = right / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Rounding would leave a little below 0, or above 1.
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == n else middle + half
    return Interval(low, high)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """The probability of so unequal a result, or a more unequal one, of two equally good systems.

    `one` and `other` say of each question whether it was answered right. McNemar's exact test,
    two-sided: of the questions that exactly one system answers right, each is as likely to be the
    one system's as the other's (a binomial test). Raises `ValueError` for unequal lengths.
    """
    only_one, only_other = _discordant(one, other)
    n, fewer = only_one + only_other, min(only_one, only_other)
    ways, total = 1, 0  # ways: n choose k
    for k in range(fewer + 1):
        total += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, float(2 * total / 2**n))


def _discordant(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int]:
    """How many questions `one` alone answers right, and how many `other` alone."""
    pairs = list(zip(one, other, strict=True))
    return (
        sum(mine and not yours for mine, yours in pairs),
        sum(yours and not mine for mine, yours in pairs),
    )


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same `n` questions: how many each answers right, and how many alone."""

    one: str
    other: str
    n: int
    one_right: int
    other_right: int
    only_one: int
    only_other: int
    p: float

    @property
    def better(self) -> str | None:
        """The system that is better; None where these questions cannot tell."""
        if self.p >= SIGNIFICANT:
            return None
        return self.one if self.only_one > self.only_other else self.other

    def in_words(self) -> str:
        """The shares with their intervals, and what they say, as one sentence."""
        shares = (
            f"{self.one} {share_in_words(self.one_right, self.n)} against "
            f"{self.other} {share_in_words(self.other_right, self.n)} of {self.n}"
        )
        if self.better is None:
            return f"{shares}: no difference that these questions can show ({p_in_words(self.p)})"
        return f"{shares}: {self.better} is better ({p_in_words(self.p)})"


def compare(
    one: str, one_right: Sequence[bool], other: str, other_right: Sequence[bool]
) -> Comparison:
    """Compare two systems, of which `one_right` and `other_right` say what they answer right."""
    return Comparison(
        one,
        other,
        len(one_right),
        sum(one_right),
        sum(other_right),
        *_discordant(one_right, other_right),
        mcnemar(one_right, other_right),
    )


def share_in_words(right: int, n: int) -> str:
    """A share and its interval, in percent: 55% [42, 67]."""
    low, high = interval(right, n)
    return f"{right / n:.0%} [{100 * low:.0f}, {100 * high:.0f}]"


def p_in_words(p: float) -> str:
    """p = 0.66, with as many digits as tell something."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
