"""The settings that `fit` tries: their order, names and neighbours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.measure.settings import (
    BASE,
    EXPERT,
    all_names,
    coarse,
    in_words,
    name,
    neighbours,
    rank,
)


@pytest.mark.parametrize(
    ("setting", "named", "told"),
    [
        (EXPERT, "expert", "the expert alone"),
        (BASE, "base", "the base alone"),
        (Steering(alpha=0.0, plausibility=0.1), "base", "the base alone"),
        (PAPER, "proxy", "the paper's equation"),
        (Steering(base_weight=0.5), "proxy/base_weight=0.5", "base_weight 0.5"),
        (
            Steering(plausibility=0.05, policy="unchanged"),
            "proxy/plausibility=0.05/policy=unchanged",
            "plausibility 0.05, policy unchanged",
        ),
    ],
)
def test_names(setting: Steering, named: str, told: str) -> None:
    assert name(setting) == named
    assert in_words(setting) == told


def test_cheaper_comes_before_costlier_and_plainer_before_less_plain() -> None:
    wanted = [
        EXPERT,
        BASE,
        PAPER,
        Steering(base_weight=0.75),
        Steering(base_weight=0.5),
        Steering(policy="unchanged"),
        Steering(base_weight=0.75, plausibility=0.1),
    ]
    backwards = wanted[::-1]
    assert sorted(backwards, key=rank) == wanted


def test_neighbours_differ_in_one_field_and_are_steps_of_the_grid() -> None:
    assert {name(near) for near in neighbours(PAPER)} == {
        "proxy/base_weight=0.75",
        "proxy/plausibility=0.01",
        "proxy/alpha=0.5",
        "proxy/alpha=1.5",
    }
    assert {name(n) for n in neighbours(replace(PAPER, base_weight=0.5))} >= {
        "proxy/base_weight=0.25",
        "proxy/base_weight=0.75",
    }
    assert neighbours(EXPERT) == neighbours(BASE) == []


def test_a_setting_off_the_grid_has_neighbours_too() -> None:
    assert "proxy/plausibility=0.05" in map(name, neighbours(Steering(plausibility=0.02)))


def test_every_setting_that_can_come_has_a_name_of_its_own() -> None:
    names = all_names()
    assert len(set(names)) == len(names)
    reached, new = set(coarse()), coarse()
    while new:
        new = [near for each in new for near in neighbours(each) if near not in reached]
        reached.update(new)
    assert {name(setting) for setting in reached} <= set(names)
