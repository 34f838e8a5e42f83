"""The settings that `fit` tries: their order, names and neighbours."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest

from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.measure.settings import (
    BASE,
    BY_PAPER,
    EXPERT,
    Setting,
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
        (Setting(Steering(alpha=0.0, plausibility=0.1)), "base", "the base alone"),
        (BY_PAPER, "proxy", "the paper's equation"),
        (Setting(Steering(base_weight=0.5)), "proxy/base_weight=0.5", "base_weight 0.5"),
        (
            Setting(Steering(alpha=0.5, plausibility=0.05)),
            "proxy/alpha=0.5/plausibility=0.05",
            "alpha 0.5, plausibility 0.05",
        ),
        (
            Setting(EXPERT.steering, "expert"),
            "expert/docs=expert",
            "the expert alone, documents",
        ),
        (Setting(PAPER, "all"), "proxy/docs=all", "the paper's equation, documents to all three"),
        (
            Setting(Steering(base_weight=0.5), "base"),
            "proxy/docs=base/base_weight=0.5",
            "base_weight 0.5, documents to the base",
        ),
    ],
)
def test_names(setting: Setting, named: str, told: str) -> None:
    assert name(setting) == named
    assert in_words(setting).startswith(told)


def test_cheaper_comes_before_costlier_and_plainer_before_less_plain() -> None:
    wanted = [
        EXPERT,
        Setting(EXPERT.steering, "expert"),
        BASE,
        BY_PAPER,
        Setting(Steering(base_weight=0.75)),
        Setting(Steering(base_weight=0.5)),
        Setting(Steering(base_weight=0.75, plausibility=0.1)),
        Setting(PAPER, "expert"),
        Setting(Steering(base_weight=0.5), "expert"),
        Setting(PAPER, "base"),
        Setting(PAPER, "all"),
    ]
    backwards = wanted[::-1]
    assert sorted(backwards, key=rank) == wanted


def test_neighbours_differ_in_one_field_and_are_steps_of_the_grid() -> None:
    assert {name(near) for near in neighbours(BY_PAPER)} == {
        "proxy/base_weight=0.75",
        "proxy/plausibility=0.01",
        "proxy/alpha=0.5",
        "proxy/alpha=1.5",
    }
    assert {name(n) for n in neighbours(Setting(replace(PAPER, base_weight=0.5)))} >= {
        "proxy/base_weight=0.25",
        "proxy/base_weight=0.75",
    }
    assert neighbours(EXPERT) == neighbours(BASE) == []


def test_a_setting_off_the_grid_has_neighbours_too() -> None:
    assert "proxy/plausibility=0.05" in map(name, neighbours(Setting(Steering(plausibility=0.02))))


@pytest.mark.parametrize("with_documents", [False, True])
def test_every_setting_that_can_come_has_a_name_of_its_own(with_documents: bool) -> None:
    names = all_names(with_documents=with_documents)
    assert len(set(names)) == len(names)
    new = coarse(with_documents=with_documents)
    reached = set(new)
    while new:
        found = (neighbours(each, with_documents=with_documents) for each in new)
        new = [near for near in chain.from_iterable(found) if near not in reached]
        reached.update(new)
    assert {name(setting) for setting in reached} <= set(names)


def test_each_alone_the_paper_and_half_of_either_weight_are_tried_first() -> None:
    assert [name(setting) for setting in coarse()] == [
        "expert",
        "base",
        "proxy",
        "proxy/base_weight=0.5",
        "proxy/alpha=0.5",
    ]


def test_with_documents_all_who_may_read_are_tried_first() -> None:
    assert [name(setting) for setting in coarse(with_documents=True)] == [
        "expert",
        "expert/docs=expert",
        "base",
        "base/docs=base",
        "proxy",
        "proxy/docs=expert",
        "proxy/docs=base",
        "proxy/docs=all",
    ]


def test_neighbours_have_the_same_readers_and_the_paper_s_are_the_coarse_ones_too() -> None:
    found = neighbours(Setting(PAPER, "expert"), with_documents=True)
    assert {near.readers for near in found} == {"expert"}
    assert "proxy/docs=expert/base_weight=0.5" in map(name, found)
