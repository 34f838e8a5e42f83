"""Examples in CSV and TSV, as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.tune.examples import ExamplesFile

CHAD = ("Where is Chad?", "In Africa.")


def read(path: Path, content: str | bytes, columns: tuple[str, str] | None = None) -> ExamplesFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return ExamplesFile(path, columns=columns)


def pairs(file: ExamplesFile) -> list[tuple[str, str]]:
    return [(example.messages[0].content, example.messages[-1].content) for example in file]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question,answer\nWhere is Chad?,In Africa.\n"),
        ("a.CSV", "\ufeffQuestion;Answer\r\nWhere is Chad?;In Africa.\r\n"),
        ("a.csv", "question\tanswer\nWhere is Chad?\tIn Africa."),
        ("a.tsv", "question\tanswer\nWhere is Chad?\tIn Africa.\n"),
        ("a.tsv", "question,answer\nWhere is Chad?,In Africa.\n"),
        ("a.csv", '"question","answer"\n"Where is Chad?","In Africa."\n'),
        ("a.csv", "id, answer ,QUESTION,kind\n7,In Africa.,Where is Chad?,x\n"),
        ("a.csv", "input,output\nWhere is Chad?,In Africa.\n"),
        ("a.csv", "instruction,input,output\nWhere is Chad?,,In Africa.\n"),
        ("a.csv", "prompt,completion\n\n,\nWhere is Chad?,In Africa.\n"),
        ("a.csv", "Frage;Antwort\nWhere is Chad?;In Africa.\n"),
        ("a.csv", "Question,Réponse\nWhere is Chad?,In Africa.\n"),
        ("a.csv", "问题,答案\nWhere is Chad?,In Africa.\n"),
        ("a.csv", "คำถาม,คำตอบ\nWhere is Chad?,In Africa.\n"),
    ],
)
def test_well_known_columns_are_found(tmp_path: Path, name: str, content: str) -> None:
    assert pairs(read(tmp_path / name, content)) == [CHAD]


def test_named_columns_are_taken(tmp_path: Path) -> None:
    content = "question;answer;Text;LABEL\nno;no;Where is Chad?;In Africa.\n"
    file = read(tmp_path / "a.csv", content, ("Text", "label"))
    assert pairs(file) == [CHAD]
    assert file.layout == "CSV of Text and label"
    file = read(tmp_path / "a.tsv", "a\tb\nWhere is Chad?\tIn Africa.\n", ("a", "b"))
    assert pairs(file) == [CHAD]
    assert file.layout == "TSV of a and b"


def test_quotes_hold_delimiters_quotes_and_line_ends(tmp_path: Path) -> None:
    content = 'question,answer\n"a, ""b""\nc\n\nd",e;f\n"x","y\r\nz"\n'
    file = read(tmp_path / "a.csv", content)
    assert pairs(file) == [('a, "b"\nc\n\nd', "e;f"), ("x", "y\r\nz")]
    assert [example.line for example in file] == [2, 6]


def test_an_instruction_has_its_input(tmp_path: Path) -> None:
    content = "instruction,input,output\nTranslate.,chat,cat\n"
    assert pairs(read(tmp_path / "a.csv", content)) == [("Translate.\n\nchat", "cat")]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,b,c", "this row has 3 fields, and 2 are named"),
        ("a", "this row has 1 fields, and 2 are named"),
        ('"a"b,c', "this row is not CSV"),
        ("a,", "what the assistant says is empty"),
        (b"\xff,b", "this line is not UTF-8 text"),
        (b"a\0,b", "this line has a NUL"),
        ('"' + "x" * 200_000 + '",b', "this row is not CSV (field larger"),
    ],
)
def test_a_wrong_row_is_named_or_passed_over(tmp_path: Path, row: str | bytes, what: str) -> None:
    row = row.encode() if isinstance(row, str) else row
    content = b'question,answer\n"x\ny",z\n' + row + b"\nWhere is Chad?,In Africa.\n"
    file = read(tmp_path / "a.csv", content)
    with pytest.raises(UsageError) as caught:
        pairs(file)
    assert str(caught.value).startswith(f"{file.path}:4: {what}")
    file = ExamplesFile(file.path, skip_bad=True)
    assert pairs(file) == [("x\ny", "z"), CHAD]
    assert file.n_wrong == 1


def test_a_quote_that_does_not_end_is_wrong(tmp_path: Path) -> None:
    file = read(tmp_path / "a.csv", 'question,answer\na,b\n"c,d\ne,f\n')
    with pytest.raises(UsageError, match=r":3: this row is not CSV \(unexpected end of data\)"):
        pairs(file)


@pytest.mark.parametrize(
    ("content", "columns", "what"),
    [
        ("a,b\nc,d\n", None, "does not name two columns that are known .* but 'a', 'b'; say which"),
        ("", None, "but none; say which"),
        ("question,answer\na,b\n", ("x", "y"), "does not name a column x and a column y"),
        ("question,answer,answer\na,b,c\n", None, "each once"),
        (b"question,\xff\n", None, ":1: this line is not UTF-8 text"),
        ("question,answer\n", None, "there is no example in this file"),
    ],
)
def test_a_table_without_the_columns_is_an_error(
    tmp_path: Path, content: str | bytes, columns: tuple[str, str] | None, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        pairs(read(tmp_path / "a.csv", content, columns))
