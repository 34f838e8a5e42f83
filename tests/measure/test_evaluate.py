"""What a file of questions may hold, and the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question, figures, gap_closed, read_questions


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_questions_are_read(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "q.jsonl",
        {"question": "A?", "answer": "a", "kind": "x", "country": "left alone"},
        "",
        {"question": "B?", "answer": ["b", "c"]},
    )
    asked = [Question("A?", ("a",), "x"), Question("B?", ("b", "c"), None)]
    assert read_questions(path) == asked
    assert read_questions(path, limit=1) == asked[:1]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        "[" * 100_000,
        {"answer": "a"},
        {"question": " ", "answer": "a"},
        {"question": "A\0?", "answer": "a"},
        {"question": "A?"},
        {"question": "A?", "answer": True},
        {"question": "A?", "answer": []},
        {"question": "A?", "answer": ["a", None]},
        {"question": "A?", "answer": "?!"},
        {"question": "A?", "answer": "a", "kind": 1},
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object) -> None:
    path = write_lines(tmp_path / "q.jsonl", {"question": "A?", "answer": "a"}, line)
    with pytest.raises(UsageError, match=r"q\.jsonl:2: "):
        read_questions(path)


def test_a_file_that_is_not_questions(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9?", "answer": "a"}')
    (tmp_path / "wide.jsonl").write_bytes('{"question": "?"}'.encode("utf-16-le"))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for name, what in (
        ("latin", "UTF-8"),
        ("wide", "UTF-16"),
        ("empty", "no question"),
        ("absent", "No such file"),
    ):
        with pytest.raises(UsageError, match=what):
            read_questions(tmp_path / f"{name}.jsonl")
    with pytest.raises(UsageError, match="questions"):
        read_questions(tmp_path)


def test_figures_by_kind() -> None:
    questions = [Question("?", ("a",), kind) for kind in ("x", "y", "x", None)]
    assert figures(questions, [True, False, False, True]) == {
        "accuracy": 0.5,
        "n": 4,
        "kinds": {"x": {"accuracy": 0.5, "n": 2}, "y": {"accuracy": 0.0, "n": 1}},
    }


def test_gap_closed() -> None:
    def systems(**accuracies: float) -> dict[str, dict[str, Any]]:
        return {name: {"accuracy": accuracy} for name, accuracy in accuracies.items()}

    assert gap_closed(systems(base=0.1, proxy=0.4, tuned=0.5)) == pytest.approx(0.75)
    assert gap_closed(systems(base=0.5, proxy=0.4, tuned=0.5)) is None
    assert gap_closed(systems(base=0.5, proxy=0.4)) is None
