"""What each reader makes of a good document."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.documents.kinds import kind_of, open_document
from edgeproxy.documents.passage import Block
from edgeproxy.documents.readers.pdf import paragraphs
from edgeproxy.documents.source import MAX_BLOCK
from edgeproxy.errors import UnreadableError
from tests.helpers.document_files import PAGES, SUFFIXES, blocks_of, good, pdf

RIGHT = {
    ".txt": [
        Block("One line.\nAnother.", (), "line 1"),
        Block("A second paragraph.\n", (), "line 5"),
    ],
    ".md": [
        Block("title: Rivers", (), "line 2"),
        Block("Intro text.", ("Chad",), "line 6"),
        Block("- a\n- b", ("Chad", "Geography"), "line 11"),
        Block("# not a heading\n\nx = 1", ("Chad", "Geography"), "line 15"),
        Block("Name: Chari; Length: 1,400 km", ("Chad", "Geography"), "line 22"),
        Block("Empty", ("Chad",), "line 24"),
    ],
    ".html": [
        Block("Intro bold text.", ("Chad",)),
        Block("Oil", ("Chad", "Economy")),
        Block("Cotton", ("Chad", "Economy")),
        Block("Year: 2023; GDP: 20", ("Chad", "Economy")),
        Block("Capital: N'Djamena", ("Chad", "Economy")),
        Block("a\n b", ("Chad", "Economy")),
        Block("tail é", ("Chad", "Economy")),
    ],
    ".csv": [
        Block("Country: Chad; Capital: N'Djamena; 2020: 3; 2021: 4", (), "row 2"),
        Block("Country: Mali; Capital: Ba mako; 2020: 4; 2021: 5", (), "row 3"),
    ],
    ".json": [
        Block("5 km", ("Chad", "Geography", "Area", "total"), "Geography > Area > total"),
        Block("4 km", ("Chad", "Geography", "Area", "land"), "Geography > Area > land"),
        Block("dry & hot", ("Chad", "Geography", "Climate"), "Geography > Climate"),
        Block(
            "name: Chad; km: 9",
            ("Chad", "Geography", "Lakes", "Chad"),
            "Geography > Lakes > Chad",
        ),
        Block(
            "name: Fitri; km: 1.50",
            ("Chad", "Geography", "Lakes", "Fitri"),
            "Geography > Lakes > Fitri",
        ),
        Block(
            "Republic of Chad",
            ("Chad", "Government", "Country name", "conventional long form"),
            "Government > Country name > conventional long form",
        ),
        Block(
            "Chad",
            ("Chad", "Government", "Country name", "conventional short form"),
            "Government > Country name > conventional short form",
        ),
    ],
    ".jsonl": [
        Block("q: a; a: b", (), "line 1"),
        Block("name: Chad; tags: x, y", ("Chad",), "line 3"),
    ],
    ".pdf": [
        Block("Chad is a landlocked country in Africa.", (), "page 1"),
        Block("This is the longest line on the page.", (), "page 1"),
        Block("The currency is the franc.", (), "page 2"),
    ],
    ".docx": [
        Block("The currency is the CFA franc.", ("Chad", "Economy"), "paragraph 3"),
        Block("Field: Capital; Value: N'Djamena", ("Chad", "Economy"), "paragraph 5"),
        Block("Field: Area; Value: 1.3 m", ("Chad", "Economy"), "paragraph 6"),
        Block("Desert.", ("Chad", "Geography"), "paragraph 8"),
    ],
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_good_document_gives_its_blocks(tmp_path: Path, suffix: str) -> None:
    assert blocks_of(tmp_path, f"a{suffix}", good(suffix)) == RIGHT[suffix]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_has_no_blocks_or_says_what_is_wrong(tmp_path: Path, suffix: str) -> None:
    if suffix in (".pdf", ".docx"):
        with pytest.raises(UnreadableError, match="cannot be read"):
            blocks_of(tmp_path, f"a{suffix}", b"")
    else:
        assert blocks_of(tmp_path, f"a{suffix}", b"") == []


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.TXT", b"x", "text"),
        ("a.py", b"x = 1", "text"),
        ("Makefile", b"all:", "text"),
        ("a.MD", b"x", "Markdown"),
        ("a.tsv", b"x", "CSV"),
        ("a.ndjson", b"{}", "JSON lines"),
        ("a.txt", pdf(), "PDF"),
        ("page", b"\n<!DOCTYPE html><p>x", "HTML"),
        ("a", good(".docx"), "Word"),
        ("a.pdf", b"x", "PDF"),
        ("a.png", b"text", None),
        ("a", b"\x89PNG\r\n\x1a\n\0\0\0\r", None),
        ("a", b"\x7fELF\2\1\1\0\0\0\0", None),
        ("a", b"PK\x03\x04\x14\0\0\0", None),
        ("a", "día".encode("utf-16"), "text"),
    ],
)
def test_a_kind_is_told_by_suffix_and_first_bytes(
    tmp_path: Path, name: str, data: bytes, kind: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = kind_of(path)
    assert (found.name if found else None) == kind


def test_a_hyphen_at_a_lines_end_parts_no_word_and_paragraphs_end() -> None:
    page = (
        "A long line that is the page's widest and more-\nover ends.\nThe next one.\n- item\nB-\n2"
    )
    assert list(paragraphs(page)) == [
        "A long line that is the page's widest and moreover ends.",
        "The next one.",
        "- item B- 2",
    ]


def test_a_pdf_of_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="has no text"):
        blocks_of(tmp_path, "a.pdf", pdf(((),)))


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    import pypdf

    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    with pytest.raises(UnreadableError, match="encrypted"), open_document(tmp_path / "a.pdf") as r:
        list(r.blocks)


def test_a_page_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    data = pdf((*PAGES, ("Third.",)))
    path.write_bytes(data.replace(b"/Contents 7 0 R", b"/Contents (no)  "))
    with open_document(path) as reading:
        found = [block.place for block in reading.blocks]
    assert found == ["page 1", "page 1", "page 3"]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a;b;c\n1;2;3\n4;5;6\n", ["a: 1; b: 2; c: 3", "a: 4; b: 5; c: 6"]),
        ("1,2\n3,4\n", ["1; 2", "3; 4"]),
        ("x,y\nx,2\n", ["x; y", "x; 2"]),
        ("only,one,row\n", ["only; one; row"]),
        ("Report,,\n\na,b,c\n1,,3\n", ["Report", "a: 1; c: 3"]),
        ("a,b\n1,2,3\n", ["a: 1; b: 2; 3"]),
        ("a,b\n1,\0 22222222222222222222\n", ["a: 1; b: 22222222222222222222"]),
        ('a,b\n"x ""y""",2\n', ['a: x "y"; b: 2']),
    ],
)
def test_rows_of_csv(tmp_path: Path, text: str, texts: list[str]) -> None:
    assert [block.text for block in blocks_of(tmp_path, "a.csv", text)] == texts


@pytest.mark.parametrize(
    ("text", "trail"),
    [
        ('{"title": "T", "x": {"y": "z"}}', ("T", "x")),
        ('{"x": {"y": "z"}, "metadata": {"title": "T"}}', ("T", "x")),
        ('{"x": {"y": "z"}, "author": {"name": "T"}}', ("x",)),
        ('{"T": {"name": "T", "x": {"y": "z"}}}', ("T", "x", "y")),
        ('{"x": {"y": "z"}, "name": {"official": "Long T", "common": "T"}}', ("T", "x")),
        ('{"x": {"y": "z"}, "name": {"short": "none", "long": "Long T"}}', ("Long T", "x")),
        ('{"x": {"y": "z"}, "name": 12}', ("x",)),
        ('{"x": {"y": "z"}, "productName": "T"}', ("T", "x")),
        ('[{"y": "z"}, {"y": "z"}]', ("2",)),
        ('[{"y": "z"}]', ()),
        ('["a", "b"]', ()),
        ('"a"', ()),
    ],
)
def test_titles_of_json(tmp_path: Path, text: str, trail: tuple[str, ...]) -> None:
    assert trail in [block.trail for block in blocks_of(tmp_path, "a.json", text)]


def test_a_bad_line_of_json_lines_is_noted_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{bad\n{"a": 2}\n')
    with open_document(path) as reading:
        assert [block.text for block in reading.blocks] == ["a: 1", "a: 2"]
        assert [problem.partition(" is ")[0] for problem in reading.problems] == ["line 2"]


def test_json_that_is_json_lines_is_read_as_that(tmp_path: Path) -> None:
    found = blocks_of(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')
    assert [(block.text, block.place) for block in found] == [
        ("a: 1", "line 1"),
        ("a: 2", "line 2"),
    ]


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".json", ".jsonl"])
def test_long_texts_come_in_bounded_blocks_and_nothing_is_lost(tmp_path: Path, suffix: str) -> None:
    words = " ".join(f"w{i}" for i in range(60_000))
    text = f'{{"a": "{words}"}}' if "json" in suffix else words
    found = blocks_of(tmp_path, f"a{suffix}", text)
    assert max(len(block.text) for block in found) <= MAX_BLOCK
    assert " ".join(" ".join(block.text for block in found).split()) == words


def test_lines_are_counted_across_chunks(tmp_path: Path) -> None:
    text = "".join(f"{i} " + "x" * (i % 97) + "\n" * (1 + i % 3) for i in range(40_000))
    lines = text.split("\n")
    for block in blocks_of(tmp_path, "a.txt", text):
        number = int(block.place.removeprefix("line "))
        assert lines[number - 1].startswith(block.text.partition("\n")[0])
