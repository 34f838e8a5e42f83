"""Damaged and hostile documents give blocks or one clear error."""

from __future__ import annotations

import io
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.documents.cleaning import clean
from edgeproxy.documents.kinds import open_document
from edgeproxy.documents.missing import MissingReaderError
from edgeproxy.documents.readers import word as word_reader
from edgeproxy.documents.source import MAX_BLOCK
from edgeproxy.errors import Cancelled, UnreadableError
from tests.helpers.document_files import SUFFIXES, blocks_of, damaged, good, pdf_of, word

COUNT = 100
DOCUMENT = "word/document.xml"


def blocks_or_error(folder: Path, name: str, data: bytes | str) -> str:
    """The error's text, or nothing; the blocks are as promised."""
    found = []
    try:
        found = blocks_of(folder, name, data)
    except UnreadableError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert name in said
        assert "\n" not in said
        return said
    for block in found:
        assert 0 < len(block.text) <= MAX_BLOCK
        assert block.text == clean(block.text)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_documents_give_blocks_or_an_error(tmp_path: Path, suffix: str) -> None:
    errors = 0
    for seed in range(COUNT):
        data = damaged(good(suffix), f"{suffix} {seed}")
        if suffix == ".docx" and seed % 2:  # the archive's checksums are right
            with zipfile.ZipFile(io.BytesIO(word())) as archive:
                inner = archive.read(DOCUMENT)
            data = with_part(DOCUMENT, damaged(inner, f"{seed}"))
        errors += bool(blocks_or_error(tmp_path, f"a{suffix}", data))
    assert errors < COUNT


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_document_under_the_name_of_another_kind(tmp_path: Path, suffix: str) -> None:
    for other in SUFFIXES:
        blocks_or_error(tmp_path, f"a{other}", good(suffix))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", "[" * 100_000, "nested more than"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "nested more than"),
        ("a.json", '{"a":' * 300 + "1" + "}" * 300, "nested more than"),
        ("a.json", "[" + "0," * 5_000_000 + "0]", "more than 4,000,000 values"),
        ("a.json", "{", "not JSON"),
        ("a.json", "{} x", "not JSON"),
        ("a.jsonl", "x\ny\n", "no line of it is JSON; line 1"),
        ("a.jsonl", '{"a": "' + "x" * 5_000_000, "line 1 has more than"),
        ("a.csv", 'a,b\n"' + "x" * 140_000, "row 2 cannot be read: field larger"),
        ("a.csv", "a,b\n" + "1," * 600_000, "line 2 has more than"),
        ("a.csv", "a,b\n" + '"x\ny",' * 200_000, "row 2 has more than"),
        ("a.pdf", "no", "cannot be read"),
        ("a.pdf", pdf_of(["<< /Type /Catalog /Pages 1 0 R >>"]), ""),
        (
            "a.pdf",
            pdf_of(
                [
                    "<< /Type /Catalog /Pages 2 0 R >>",
                    "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000000 >>",
                ]
            ),
            "",
        ),
        ("a.docx", b"\xd0\xcf\x11\xe0" + b"\0" * 600, "encrypted"),
        ("a.docx", b"PK\x03\x04", "cannot be read"),
    ],
)
def test_hostile_documents_are_refused(
    tmp_path: Path, name: str, data: bytes | str, said: str
) -> None:
    error = blocks_or_error(tmp_path, name, data)
    assert error
    assert said in error


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.json", '{"n": ' + "9" * 10_000 + "}", "999"),
        ("a.json", '{"n": 1e999, "m": NaN, "n": 2}', "n: 1e999; m: NaN; n: 2"),
        ("a.json", '"\\ud800x"', "\ufffdx"),
        ("a.html", "<div>" * 100_000 + "deep", "deep"),
        ("a.html", "<" * 100_000 + "x", "<"),
        ("a.html", "<table><tr>" + "<td>x" * 100_000, "x; x"),
        ("a.md", "#" * 100_000 + " x", "###"),
        ("a.md", "|" * 100_000 + "\n|-|\n" + "|" * 1000 + "x", "x"),
        ("a.md", "---\n" + "x: y\n" * 1000, "x: y"),
        ("a.txt", "text\0text\n" * 10 + "x" * 10_000, "texttext"),
    ],
)
def test_hostile_documents_are_read(tmp_path: Path, name: str, data: str, text: str) -> None:
    assert any(text in block.text for block in blocks_of(tmp_path, name, data))


@pytest.mark.parametrize("begin", ["<table><tr><td>", "<table><td>", "<td>", "<pre>", "<h1>"])
def test_nothing_of_a_long_cell_is_lost(tmp_path: Path, begin: str) -> None:
    words = [f"w{i}" for i in range(30_000)]
    found = blocks_of(tmp_path, "a.html", begin + " ".join(words) + "<p>end")
    texts = " ".join(" ".join((*block.trail, block.text)) for block in found).split()
    assert texts[-1] == "end"
    assert begin == "<h1>" or texts[:-1] == words


def test_json_above_its_size_names_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.documents.readers.json.MAX_BYTES", 1000)
    assert "JSON lines" in blocks_or_error(tmp_path, "a.json", '["' + "x" * 2000 + '"]')
    assert blocks_or_error(tmp_path, "a.json", '{"a": "xxxxxxxx"}\n' * 100) == ""


def with_part(name: str, data: bytes) -> bytes:
    """A Word document with one part replaced or added."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word())) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            if part.filename != name:
                new.writestr(part, old.read(part))
        new.writestr(name, data)
    return buffer.getvalue()


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


@pytest.mark.parametrize(
    ("part", "data", "said"),
    [
        (
            "word/document.xml",
            b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x/>",
            "entit",
        ),
        ("word/document.xml", b"<a/>" * 2_100_000, "tags of XML"),
        ("word/document.xml", b" " * (65 << 20), "MB"),
        ("word/media/a.png", b"\0" * (257 << 20), "unpacks to"),
        ("word/document.xml", b"<a>" * 1000, "cannot be read"),
        ("word/document.xml", b"", "cannot be read"),
        ("[Content_Types].xml", b"<x/>", "cannot be read"),
        ("_rels/.rels", b"<x/>", "cannot be read"),
    ],
)
@pytest.mark.slow
def test_bombs_in_word_are_not_opened(tmp_path: Path, part: str, data: bytes, said: str) -> None:
    assert said in blocks_or_error(tmp_path, "a.docx", with_part(part, data))


def test_a_cell_of_a_billion_columns_takes_one(tmp_path: Path) -> None:
    cell = (
        '<w:tc><w:tcPr><w:gridSpan w:val="1000000000"/></w:tcPr><w:p><w:r><w:t>x</w:t></w:r></w:p>'
    )
    xml = f"<w:document {W}><w:body><w:tbl><w:tr>{cell}</w:tc></w:tr></w:tbl></w:body></w:document>"
    found = blocks_of(tmp_path, "a.docx", with_part("word/document.xml", xml.encode()))
    assert [block.text for block in found] == ["x"]
    assert word_reader.MAX_CELLS < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["x" * 100, "word " * 20, "\n" * 100, "line\n" * 20, "a\n\n" * 33]
)
@pytest.mark.parametrize("suffix", [".txt", ".md", ".html"])
def test_a_large_text_takes_little_memory(
    tmp_path: Path, piece: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("source", "encodings"):
        monkeypatch.setattr(f"edgeproxy.documents.{module}.CHUNK", 1 << 12)
    path = tmp_path / f"a{suffix}"
    path.write_text(piece * 10_000)
    blocks_of(tmp_path, f"b{suffix}", "x")  # what is imported for it does not count
    # Other threads of this process may take memory meanwhile, though not each time.
    assert min(_peak(path) for _ in range(3)) < 500_000


def _peak(path: Path) -> int:
    """The bytes of memory that reading a document takes at most."""
    tracemalloc.start()
    try:
        with open_document(path) as reading:
            for _ in reading.blocks:
                pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reading_is_cancelled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(good(suffix))
    flag = Flag()
    flag.set()
    with pytest.raises(Cancelled), open_document(path, flag) as reading:
        list(reading.blocks)


@pytest.mark.parametrize(
    ("suffix", "module", "package"),
    [(".pdf", "pypdf", "pypdf"), (".docx", "docx", "python-docx"), (".html", "lxml.etree", "lxml")],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingReaderError, match=rf"{package}.* pip install 'edgeproxy\[docs\]'"):
        blocks_of(tmp_path, f"a{suffix}", good(suffix))


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.txt", tmp_path / "a\0.txt"):
        with pytest.raises(UnreadableError), open_document(path):
            pass
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UnreadableError, match="no document"), open_document(tmp_path / "a.png"):
        pass
