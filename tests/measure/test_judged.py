"""Hand-made pairs of reply and answer in many languages: what each judge says of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.judging import JUDGES

PAIRS: list[dict[str, Any]] = [
    json.loads(line)
    for line in Path(__file__).with_name("judged.jsonl").read_text("utf-8").splitlines()
]


def question(pair: dict[str, Any], folder: Path) -> Question:
    """The question of a pair, read as a person's file would be."""
    line: dict[str, Any] = {"question": "?", **pair}
    path = folder / "questions.jsonl"
    path.write_text(json.dumps(line, ensure_ascii=False), "utf-8")
    (asked,) = read_questions(path)
    return asked


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['judge']}-{pair['language']}")
def test_a_pair_is_judged_as_a_person_would(pair: dict[str, Any], tmp_path: Path) -> None:
    verdict = question(pair, tmp_path).verdict(pair["reply"])
    assert verdict.right is pair["right"], pair
    if "f1" in pair:
        assert verdict.f1 == pytest.approx(pair["f1"]), pair


def test_every_judge_has_right_and_wrong_pairs_in_many_languages() -> None:
    assert len(PAIRS) >= 200
    for name in JUDGES:
        counts = Counter(pair["right"] for pair in PAIRS if pair["judge"] == name)
        assert min(counts[True], counts[False]) >= 5, name
        assert len({pair["language"] for pair in PAIRS if pair["judge"] == name}) >= 8, name
