"""Racing: the probabilities against counting, who is dropped and who leads."""

from __future__ import annotations

import itertools
import random

import pytest

from edgeproxy.measure.compare import mcnemar
from edgeproxy.measure.racing import (
    PRIOR,
    Race,
    beats,
    chance_to_beat,
    differences,
    wins_needed,
)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.3])
def test_wins_needed_are_those_of_mcnemar_s_test(level: float) -> None:
    for n in range(40):
        p = [
            mcnemar([True] * k + [False] * (n - k), [False] * k + [True] * (n - k))
            for k in range(n + 1)
        ]
        won = [k for k in range(n + 1) if 2 * k > n and p[k] < level]
        assert wins_needed(n, level) == min(won, default=n + 1)


def test_the_chance_to_beat_is_the_share_of_continuations_that_do() -> None:
    """Against the urn itself: each draw is as likely as what was drawn before, and the prior."""
    mine, yours, shared, left, level = 3, 1, 9, 4, 0.3
    total = 0.0
    for draws in itertools.product(range(3), repeat=left):
        urn = [
            prior + n for prior, n in zip(PRIOR, (mine, yours, shared - mine - yours), strict=True)
        ]
        chance = 1.0
        for drawn in draws:
            chance *= urn[drawn] / sum(urn)
            urn[drawn] += 1
        if beats(mine + draws.count(0), yours + draws.count(1), level):
            total += chance
    assert 0.05 < total < 0.95
    assert chance_to_beat(mine, yours, shared, left, level) == pytest.approx(total)


def test_with_no_question_left_it_is_decided() -> None:
    assert chance_to_beat(6, 0, 20, 0, 0.05) == 1.0
    assert chance_to_beat(5, 0, 20, 0, 0.05) == 0.0


def test_what_cannot_come_has_no_chance_and_what_must_has_all() -> None:
    assert chance_to_beat(0, 9, 20, 8, 0.05) == 0.0
    assert chance_to_beat(20, 0, 20, 2, 0.05) == pytest.approx(1.0)


def test_differences_count_what_both_have_answered() -> None:
    assert differences([True, True, False, True], [False, True, True]) == (1, 1)


def raced(shares: dict[str, float], total: int, seed: int = 0) -> Race[str]:
    """A race to its end: setting `a` is cheapest, all right by independent draws."""
    rng, race = random.Random(seed), Race[str](total)
    for at, name in enumerate(shares):
        race.enter(name, (at,), 0.05)
    while (runner := race.behind()) is not None and len(race.racing) > 1:
        for _ in range(min(10, total - len(runner.right))):
            race.add(runner.setting, rng.random() < shares[runner.setting])
        race.look()
    return race


def test_the_best_is_left_and_the_hopeless_answer_few() -> None:
    race = raced({"a": 0.3, "b": 0.8, "c": 0.05}, 200)
    assert [runner.setting for runner in race.racing] == ["b"]
    assert len(race.runners["c"].right) <= 40
    assert sum(len(runner.right) for runner in race.runners.values()) < 200


def test_of_equals_the_cheapest_leads_and_the_others_are_dropped() -> None:
    for seed in range(5):
        race = raced({"a": 1.0, "b": 1.0, "c": 1.0}, 100, seed)
        assert race.leader.setting == "a"
        assert len(race.racing) == 1
        assert len(race.runners["b"].right) <= 40


def test_nobody_is_dropped_before_the_first_look() -> None:
    race = Race[str](100)
    race.enter("a", (0,), 0.05)
    race.enter("b", (1,), 0.05)
    for name, is_right in (("a", True), ("b", False)):
        for _ in range(10):
            race.add(name, is_right)
    assert race.look() == []
    for name, is_right in (("a", True), ("b", False)):
        for _ in range(10):
            race.add(name, is_right)
    assert race.look() == ["b"]


def test_one_that_was_dropped_does_not_come_back() -> None:
    race = raced({"a": 0.9, "b": 0.1}, 60)
    race.enter("b", (1,), 0.05)
    assert [runner.setting for runner in race.racing] == ["a"]
