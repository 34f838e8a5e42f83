"""The measurement of what a worker costs, on a few tokens."""

from __future__ import annotations

import pytest

from tools.measure.isolation import as_text, measure, pipe

pytestmark = pytest.mark.slow


def test_pieces_are_timed_here_and_from_a_worker() -> None:
    here, there = pipe(50, 2)
    assert len(here) == len(there) == 2
    assert min(*here, *there) > 0.0


@pytest.mark.weights
def test_all_figures_are_measured_and_told() -> None:
    told: list[str] = []
    found = measure("factbook", 50, 1, told.append)
    assert told == ["pieces without models", "in this process", "isolated"]
    assert [row["kind"] for row in found["trio"]] == ["here", "isolated"]
    assert found["milliseconds_a_token"] == pytest.approx(found["isolated"] - found["here"])
    lines = list(as_text(found))
    assert len(lines) == 4
    assert "ms more from a worker" in lines[0]
