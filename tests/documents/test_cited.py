"""Citing free text in six languages: pairs written by hand, right, joined, invented and foreign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.documents.citing import Part, cite
from edgeproxy.documents.passage import Passage

KNOWN_WRONG = {
    "The highest point, Emi Koussi, has 4,120 m.",
    "مدة الاستعارة 45 يوما للطالب، وغرامة التأخير 250 فلسا.",
}
"""The replies that are cited otherwise than by hand; at most three of the sixty."""


def passage(number: int, written: str) -> Passage:
    trail, _, text = written.partition(": ")
    return Passage(number, Path("a.txt"), number, tuple(trail.split(" - ")), "", text)


def read() -> Iterator[tuple[dict[str, Any], list[Passage]]]:
    passages: list[Passage] = []
    for line in (Path(__file__).parent / "cited.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if "passages" in row:
            passages = [passage(*each) for each in enumerate(row["passages"])]
        else:
            yield row, passages


CASES = list(read())


def told(case: dict[str, Any], passages: list[Passage]) -> tuple[list[int], list[str]]:
    parts = cite(case["reply"], passages, case["question"])
    cited = sorted({one.id for part in parts for one in part.passages})
    return cited, [part.said(span) for part in parts for span in part.unsupported]


@pytest.mark.parametrize(("case", "passages"), CASES, ids=[case["reply"][:40] for case, _ in CASES])
def test_a_reply_is_cited_as_by_hand(case: dict[str, Any], passages: list[Passage]) -> None:
    right = (case["cited"], case.get("unsupported", []))
    assert (told(case, passages) == right) == (case["reply"] not in KNOWN_WRONG)


def test_hardly_any_is_known_to_be_wrong() -> None:
    assert len(CASES) == 60
    assert len(KNOWN_WRONG) <= 3


@pytest.mark.parametrize(
    ("case", "passages"), [each for each in CASES if each[0]["kind"] in ("invented", "none")]
)
def test_nothing_invented_is_called_supported(
    case: dict[str, Any], passages: list[Passage]
) -> None:
    parts: list[Part] = cite(case["reply"], passages, case["question"])
    assert not any(part.is_supported for part in parts)
