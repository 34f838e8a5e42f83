"""How fast training is, what fits a time limit, and what is told of it."""

from __future__ import annotations

import math

import pytest

from edgeproxy.tune.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_before_the_first_step_what_is_expected_counts() -> None:
    pace = Pace(Clock())
    pace.expect(2.0, 10.0, 0.1)
    assert pace.expected(20) == pytest.approx(20 * 2 + 2 * 10)
    assert pace.left(20) == pace.expected(20)
    assert math.isnan(pace.loss)
    assert pace.tokens_per_second == 0
    assert pace.fitting() == math.inf


def test_what_steps_and_evaluations_took_counts_then() -> None:
    pace = Pace(Clock())
    pace.expect(2.0, 10.0, 0.1)
    pace.stepped(4.0, 100, 5.0)
    assert pace.expected(10) == pytest.approx(30)  # one step, which also sets things up, is none
    pace.stepped(2.0, 300, 3.0)
    pace.evaluated(20.0)
    assert pace.expected(10) == pytest.approx(10 * 4 + 20)
    assert pace.loss == 3.0
    assert pace.tokens_per_second == 50


def test_the_loss_is_of_the_last_steps() -> None:
    pace = Pace(Clock())
    for loss in range(100):
        pace.stepped(loss, 1, 1.0)
    assert pace.loss == pytest.approx(sum(range(80, 100)) / 20)


def test_a_limit_leaves_room_for_a_last_evaluation() -> None:
    clock = Clock()
    pace = Pace(clock, 60.0)
    pace.expect(2.0, 10.0, 0.0)
    assert pace.fitting() == pytest.approx(25)
    clock.now += 30
    assert pace.seconds == 30
    assert pace.fitting() == pytest.approx(10)
    assert pace.left(100) == 30
    clock.now += 100
    assert (pace.fitting(), pace.left(100)) == (0, 0)


def test_what_an_earlier_run_took_counts() -> None:
    pace = Pace(Clock(), 60.0)
    pace.add(45.0)
    pace.expect(1.0, 5.0, 0.0)
    assert pace.seconds == 45
    assert pace.fitting() == pytest.approx(10)
