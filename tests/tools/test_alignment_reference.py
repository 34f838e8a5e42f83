"""The projection leads to the token that exact probabilities lead to, on the shipped pair."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tools.alignment.reference import Tally, reference


@pytest.mark.slow
@pytest.mark.weights
def test_the_shipped_pair_says_what_it_says_exactly(factbook: Path) -> None:
    """`python -m tools.alignment.reference` measures 2,000 positions; these are some of them."""
    rows = reference("factbook-phi", factbook.parent / "questions.jsonl", 50)
    replies = [row for row in rows if row["text"] in ("replies", "countries")]
    assert {row["mask"] for row in replies} == {0.0, 0.01}
    assert sum(row["positions"] for row in replies) >= 2 * 44
    for row in replies:
        assert row["argmax agrees"] >= 0.93
        assert row["choice unresolved"] <= 1
        assert row["offsets"] >= 10 * row["positions"]
        assert row["median"] < 0.05
        assert row["MAE of 20"] < 0.3


def test_a_table_row_holds_what_was_counted() -> None:
    tally = Tally(positions=4, agree=3, regrets=[0.05], errors=[0.1, 0.3], near=[0.1])
    row = tally.row("replies", 0.0)
    assert row["argmax agrees"] == 0.75
    assert row["differ by 0.1 or more"] == 0
    assert math.isclose(row["MAE of 20"], 0.2)
    assert Tally().row("prose", 0.0)["MAE of 20"] is None
