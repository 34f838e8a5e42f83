"""Settings race over questions: who cannot win any more is not asked again.

Every setting answers the same questions in the same order, so two are compared in pairs. The rule
that chooses is a ladder from the cheapest and plainest setting up: one takes the place of the one
before where it is ahead on the questions that both have answered, by more than chance would
explain (McNemar's exact test, p below its `level`). Against one that costs as much there is less to
be careful about: `SAME_COST` is enough, and `PEER` where that one is as plain, too.

A setting is dropped once the probability is below its `hope` that the ladder, with all questions
answered, would prefer it to the one that it prefers now. That is stochastic curtailment (Lan,
Simon and Halperin 1982): how often the two will differ on the questions to come is drawn from what
they did so far, a Dirichlet-multinomial with the prior `PRIOR`. Racing itself is Maron and Moore's
(1994), tests in pairs are F-Race's (Birattari et al. 2002).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK = 10
"""Questions that a setting answers in a row, before the race is looked at again."""
FIRST_LOOK = 20
"""Nobody is dropped on fewer answers."""
PRIOR = (0.5, 0.5, 1.0)
"""Of a setting's being right alone, its rival's being right alone, and no difference."""

SAME_COST, PEER = 0.2, 0.5
"""The p below which a setting takes the place of one that costs as much, and is as plain too."""

Setting = TypeVar("Setting", bound=Hashable)


@dataclass
class Runner(Generic[Setting]):
    """A setting in the race: its place in the order, and what it has answered right.

    A rank begins with how costly a setting is, and how plain. `level` and `hope` are the p's of the
    rule that the module's docstring gives.
    """

    setting: Setting
    rank: tuple[float, ...]
    level: float
    hope: float
    right: list[bool] = field(default_factory=list)
    is_racing: bool = True

    def level_against(self, other: Runner[Setting]) -> float:
        """The p below which this one, of the higher rank, takes the place of `other`."""
        if self.rank[:1] != other.rank[:1]:
            return self.level
        return PEER if self.rank[:2] == other.rank[:2] else SAME_COST

    @property
    def share(self) -> float:
        """The share of right answers, 0 before the first one."""
        return sum(self.right) / len(self.right) if self.right else 0.0


class Race(Generic[Setting]):
    """Who is still in, who is to be asked next, and who leads; `total` questions there are."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.runners: dict[Setting, Runner[Setting]] = {}

    def enter(
        self, setting: Setting, rank: tuple[float, ...], level: float, hope: float = 0.05
    ) -> None:
        """Let a setting take part; one that has, in or out of the race, stays as it is."""
        self.runners.setdefault(setting, Runner(setting, rank, level, hope))

    def add(self, setting: Setting, is_right: bool) -> None:
        """Note a setting's answer to the next question of its own."""
        self.runners[setting].right.append(is_right)

    @property
    def racing(self) -> list[Runner[Setting]]:
        """Those still in, the cheapest and plainest first."""
        return sorted((r for r in self.runners.values() if r.is_racing), key=lambda r: r.rank)

    @property
    def leader(self) -> Runner[Setting]:
        """Whom the ladder chooses by the answers so far."""
        first, *others = self.racing
        for other in others:
            if beats(*differences(other.right, first.right), other.level_against(first)):
                first = other
        return first

    def behind(self) -> Runner[Setting] | None:
        """Who has answered fewest of those still in; None once all have answered all."""
        waiting = [runner for runner in self.racing if len(runner.right) < self.total]
        return min(waiting, key=lambda runner: len(runner.right), default=None)

    def look(self) -> list[Setting]:
        """Drop who has no hope; the dropped."""
        leader = self.leader
        dropped = [
            runner
            for runner in self.racing
            if runner is not leader and self._hope(runner, leader) < runner.hope
        ]
        for runner in dropped:
            runner.is_racing = False
        return [runner.setting for runner in dropped]

    def _hope(self, runner: Runner[Setting], leader: Runner[Setting]) -> float:
        """The probability that the ladder prefers `runner` to `leader` in the end."""
        shared = min(len(runner.right), len(leader.right))
        if shared < min(FIRST_LOOK, self.total):
            return 1.0
        left = self.total - shared
        mine, yours = differences(runner.right, leader.right)
        if runner.rank > leader.rank:
            return chance_to_beat(mine, yours, shared, left, runner.level_against(leader))
        return 1.0 - chance_to_beat(yours, mine, shared, left, leader.level_against(runner))


def differences(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int]:
    """How many of the questions that both answered `one` alone has right, and `other` alone."""
    pairs = list(zip(one, other, strict=False))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def beats(mine: int, yours: int, level: float) -> bool:
    """Whether being right alone `mine` times against `yours` is more than chance explains."""
    return mine >= wins_needed(mine + yours, level)


@cache
def wins_needed(n: int, level: float) -> int:
    """The fewest of `n` differences that one must have won: McNemar's two-sided p < `level`.

    n + 1 where even all of them would not do.
    """
    tail, ways = 0, 1  # ways: n choose k
    for k in range(n, n // 2, -1):
        tail += ways
        if 2 * tail / 2**n >= level:
            return k + 1
        ways = ways * k // (n - k + 1)
    return n // 2 + 1


def chance_to_beat(mine: int, yours: int, shared: int, left: int, level: float) -> float:
    """The probability to beat the rival at `level`, with `left` more questions.

    So far, of `shared` questions, `mine` and `yours` were answered right by one alone.
    """
    if left == 0:
        return float(beats(mine, yours, level))
    more, less = np.meshgrid(np.arange(left + 1), np.arange(left + 1), indexing="ij")
    possible = more + less <= left
    more, less = more[possible], less[possible]
    counts = (mine, yours, shared - mine - yours)
    weights = [prior + count for prior, count in zip(PRIOR, counts, strict=True)]
    log_chance = np.full(len(more), _log_rising(sum(weights), left)[left])
    np.negative(log_chance, out=log_chance)
    log_chance += math.lgamma(left + 1)
    for weight, drawn in zip(weights, (more, less, left - more - less), strict=True):
        log_chance += (_log_rising(weight, left) - _log_factorials(left))[drawn]
    needed = np.array([wins_needed(n, level) for n in range(mine + yours + left + 1)])
    wins = mine + more >= needed[mine + more + yours + less]
    return float(np.exp(log_chance[wins]).sum())


def _log_rising(weight: float, most: int) -> NDArray[np.float64]:
    """log of weight (weight + 1) ... (weight + k - 1) for k of 0 to `most`."""
    return np.concatenate([[0.0], np.cumsum(np.log(weight + np.arange(most)))])


def _log_factorials(most: int) -> NDArray[np.float64]:
    return _log_rising(1.0, most)
