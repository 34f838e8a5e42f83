"""The measurements of conversations in turn, and of loading again and again, on little."""

from __future__ import annotations

import os

import pytest

from tools.measure import conversations, cycles


@pytest.mark.weights
def test_conversations_in_turn_are_compared_with_the_same_ones_alone() -> None:
    told: list[str] = []
    results = conversations.measure("factbook", 3, 3, 1, told.append)
    assert len(told) == 3
    with_it, without = results
    assert (with_it.way, without.way) == ("with a shelf", "without")
    assert with_it.alone == without.alone > 0.0
    assert with_it.kept > 0.5 > without.kept
    found = {"bar": 1.5, "conversations": 3, "turns": 3, "repeats": 1}
    lines = list(conversations.as_text({**found, "first_tokens": [vars(each) for each in results]}))
    assert len(lines) == 4
    assert "with a shelf" in lines[2]


@pytest.mark.weights
@pytest.mark.slow
def test_cycles_are_measured_and_told() -> None:
    told: list[str] = []
    found = cycles.measure("factbook", 3, 2, told.append)
    assert told == ["cycle 1 of 3", "cycle 2 of 3", "cycle 3 of 3"]
    assert found["first"] == found["held"][1] > 20_000_000
    assert found["grown"] == found["held"][2] - found["held"][1]
    lines = list(cycles.as_text(found))
    assert len(lines) == 3
    assert "grown since" in lines[2]


def test_what_a_process_holds_is_seen() -> None:
    before = cycles.resident()
    data = bytearray(os.urandom(1 << 20)) * 64
    assert cycles.resident() > before + (32 << 20)
    del data
