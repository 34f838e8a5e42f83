"""What a file of questions may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question, read_questions


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


def test_a_line_may_name_its_judge(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "q.jsonl",
        {"question": "A?", "answer": 5},
        {"question": "B?", "answer": [{"a": "x"}, {"a": "y"}], "contains": "x"},
        {"question": "C?", "answer": "b", "judge": "choice", "choices": ["x", "y"]},
        {"question": "D?", "answer": "y", "judge": "choice", "choices": {"1": "x", "2": "y"}},
    )
    assert read_questions(path, judge="number") == [
        Question("A?", ("5",), judge="number"),
        Question("B?", ('{"a": "x"}', '{"a": "y"}'), judge="json", said=("x",)),
        Question("C?", ("b",), judge="choice", choices=(("A", "x"), ("B", "y"))),
        Question("D?", ("y",), judge="choice", choices=(("1", "x"), ("2", "y"))),
    ]
    with pytest.raises(UsageError, match="no judge 'mine'; there are contains, exact, number"):
        read_questions(path, judge="mine")


def test_the_whole_of_a_solution_may_be_the_answer(tmp_path: Path) -> None:
    solution = "16 - 3 = <<16-3=13>>13 eggs\n#### 13"
    path = write_lines(tmp_path / "q.jsonl", {"question": "?", "answer": solution})
    (question,) = read_questions(path, judge="number")
    assert question.verdict("So there are 13.").right
    assert not question.verdict("So there are 16 - 3 = 12 or 16.").right


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
        {"question": "A?", "answer": "a", "judge": "nobody"},
        {"question": "A?", "answer": "a", "judge": ["json"]},
        {"question": "A?", "answer": "a", "judge": "json"},
        {"question": "A?", "answer": {}, "judge": "json"},
        {"question": "A?", "answer": {"a": 1}, "judge": "number"},
        {"question": "A?", "answer": "three", "judge": "number"},
        {"question": "A?", "answer": "(", "judge": "regex"},
        {"question": "A?", "answer": "a" * 3000, "judge": "regex"},
        {"question": "A?", "answer": "Lima", "judge": "choice"},
        {"question": "A?", "answer": "C", "judge": "choice", "choices": ["a", "b"]},
        {"question": "A?", "answer": "A", "judge": "choice", "choices": ["a"]},
        {"question": "A?", "answer": "A", "judge": "choice", "choices": ["a", 2]},
        {"question": "A?", "answer": "A", "judge": "choice", "choices": ["a"] * 27},
        {"question": "A?", "answer": "A", "judge": "choice", "choices": "ab"},
        {"question": "A?", "answer": "a", "contains": 3},
        {"question": "A?", "answer": "a", "contains": ["?"]},
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


def test_a_reply_may_be_as_long_as_the_question_needs() -> None:
    value = json.dumps({"value": "x" * 80})
    assert Question("A?", (value, "{}"), judge="json").max_tokens == len(value)
    assert Question("A?", ("short",), judge="exact").max_tokens == 48
    assert Question("A?", ("é" * 300,), judge="exact").max_tokens == 256
    assert Question("A?", ("5",), judge="number").max_tokens == 256
    assert Question("A?", ("x" * 80,)).max_tokens == 48
