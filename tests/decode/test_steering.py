"""Which steerings there can be, and that an impossible one names what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import UsageError


def test_the_usual_one_is_the_papers() -> None:
    assert Steering() == Steering(1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("steering", "alone"),
    [
        (Steering(), None),
        (Steering(base_weight=0.0), "expert"),
        (Steering(base_weight=0.0, plausibility=0.1), "expert"),
        (Steering(alpha=0), "base"),
        (Steering(alpha=-0.0, plausibility=0.1), "base"),
        (Steering(alpha=-1.0), None),
        (Steering(alpha=1e-3, base_weight=1e-3), None),
    ],
    ids=str,
)
def test_who_has_the_only_say(steering: Steering, alone: str | None) -> None:
    assert steering.alone == alone


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": math.nan}, "alpha must be a finite number"),
        ({"alpha": math.inf}, "alpha must be a finite number"),
        ({"alpha": "1"}, "alpha must be a finite number"),
        ({"alpha": True}, "alpha must be a finite number"),
        ({"base_weight": -0.01}, "base_weight must be between 0"),
        ({"base_weight": 1.01}, "base_weight must be between 0"),
        ({"base_weight": math.nan}, "base_weight must be between 0"),
        ({"base_weight": None}, "base_weight must be between 0"),
        ({"plausibility": -0.01}, "plausibility must be between 0"),
        ({"plausibility": 1.01}, "plausibility must be between 0"),
        ({"plausibility": math.inf}, "plausibility must be between 0"),
        ({"plausibility": False}, "plausibility must be between 0"),
        ({"base_weight": 0.0, "alpha": 2.0}, "base_weight 0 is the expert alone.* alpha 2$"),
        ({"base_weight": 0.5, "alpha": -1.0}, "alpha -1 goes with base_weight 1"),
        ({"base_weight": 0.5, "alpha": 0.0}, "alpha 0 goes with base_weight 1"),
    ],
)
def test_an_impossible_one_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Steering(**wrong)


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": -1.0},
        {"alpha": 0},
        {"alpha": 2.5, "base_weight": 0.5},
        {"base_weight": 0.0, "plausibility": 0.1},
        {"plausibility": 1.0},
        {"alpha": 1e-3, "base_weight": 0.5},
    ],
)
def test_possible_values_pass_through(values: dict[str, Any]) -> None:
    made = Steering(**values)
    assert {name: getattr(made, name) for name in values} == values


def test_a_change_leaves_the_rest_and_is_checked() -> None:
    before = Steering(0.5, 0.7, 0.1)
    assert before.changed({"alpha": 2.0, "plausibility": None}) == Steering(2.0, 0.7, 0.1)
    assert before.changed({"base_weight": 1.0}) == Steering(0.5, 1.0, 0.1)
    assert before.changed({}) == before
    with pytest.raises(UsageError, match="base_weight"):
        before.changed({"base_weight": 2.0})
