"""Word: paragraphs and rows of tables below their headings, by python-docx.

Text boxes are read, deleted text and notes at the foot are not.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from edgeproxy.documents.faults import FAULTS, said
from edgeproxy.documents.missing import needed
from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import Source
from edgeproxy.documents.tables import is_header, row_text
from edgeproxy.documents.trails import Headings

MAX_PARTS = 20_000
MAX_XML = 64 << 20
MAX_UNPACKED = 256 << 20
MAX_TAGS = 2_000_000
"""Of all XML; lxml takes some hundred bytes of memory for each."""

MAX_CELLS = 1000
MAX_TABLE_LEVELS = 20

_CHUNK = 1 << 18
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_OLD_COPY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_OLE = b"\xd0\xcf\x11\xe0"
"""What Word's old files begin with, and new ones with a password."""

_HEADING_STYLE = re.compile(r"(?:heading|title) ?([1-9])?$", re.IGNORECASE)
_ENTITIES = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def read(source: Source) -> Iterator[Block]:
    """Its blocks, with the number of the paragraph as place.

    Raises `MissingReaderError`; `UnreadableError` for a file that is damaged, encrypted, or unpacks
    to too much; `OSError`.
    """
    docx = needed("docx", "python-docx", source.path, "a Word document")
    opc_errors: ModuleType = needed("docx.opc.exceptions", "python-docx", source.path, "Word")
    etree: ModuleType = needed("lxml.etree", "lxml", source.path, "a Word document")
    try:
        _check_size(source)
        source.file.seek(0)
        document = docx.Document(source.file)
        body = document.element.body
        yield from _Reader(source, _heading_styles(document)).read(body)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        etree.LxmlError,
        opc_errors.OpcError,
        *FAULTS,
    ) as error:
        raise source.unreadable(f"this Word document cannot be read: {said(error)}") from None


def _check_size(source: Source) -> None:
    """Raise `UnreadableError` for what would unpack to more than memory has room for."""
    source.file.seek(0)
    if (source.file.read(4) or b"").startswith(_OLE):
        raise source.unreadable(
            "this is an encrypted Word document, or one of Word before 2007; save it as .docx "
            "without a password"
        )
    with zipfile.ZipFile(source.file) as archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
        if len(parts) > MAX_PARTS or unpacked > MAX_UNPACKED:
            raise source.unreadable(
                f"this Word document unpacks to {len(parts):,} parts of {unpacked >> 20:,} MB; the "
                f"most that is read is {MAX_PARTS:,} of {MAX_UNPACKED >> 20} MB"
            )
        size = tags = 0
        for part in parts:
            if not part.filename.lower().endswith((".xml", ".rels")):
                continue
            with archive.open(part) as file:
                while chunk := file.read(_CHUNK):
                    source.check()
                    size += len(chunk)
                    tags += chunk.count(b"<")
                    if _ENTITIES.search(chunk):
                        raise source.unreadable(
                            f"{part.filename} in this Word document declares entities, which no "
                            "program for texts writes; it is not opened"
                        )
                    if size > MAX_XML or tags > MAX_TAGS:
                        raise source.unreadable(
                            f"this Word document unpacks to more than {MAX_XML >> 20} MB or "
                            f"{MAX_TAGS:,} tags of XML"
                        )


def _heading_styles(document: Any) -> dict[str, int]:
    """The level of each style of headings, by its id; 0 for a document's title."""
    levels = {}
    for style in document.styles:
        if style.style_id and (match := _HEADING_STYLE.match(style.name or "")):
            levels[style.style_id] = int(match[1] or 0)
    return levels


class _Reader:
    def __init__(self, source: Source, styles: dict[str, int]) -> None:
        self._source = source
        self._styles = styles
        self._headings = Headings()
        self._number = 0

    def read(self, body: Any) -> Iterator[Block]:
        yield from self._inside(body, 0)
        if lone := self._headings.end():
            yield lone

    def _inside(self, element: Any, level: int) -> Iterator[Block]:
        for child in element.iterchildren():
            if child.tag == _W + "p":
                yield from self._paragraph(child)
            elif child.tag == _W + "tbl":
                yield from self._table(child, level)
            elif child.tag in (_W + "sdt", _W + "sdtContent", _W + "ins", _W + "customXml"):
                yield from self._inside(child, level)

    def _paragraph(self, element: Any) -> Iterator[Block]:
        self._source.check()
        self._number += 1
        text = _text_of(element)
        if not text.strip():
            return
        place = f"paragraph {self._number}"
        heading = self._level(element)
        if heading is None:
            yield Block(text, self._headings.trail, place)
        elif lone := self._headings.add(heading, text, place):
            yield lone

    def _level(self, paragraph: Any) -> int | None:
        """A heading's level, by its outline level or style; None for other paragraphs."""
        properties = paragraph.find(_W + "pPr")
        if properties is None:
            return None
        outline = properties.find(_W + "outlineLvl")
        level = outline.get(_W + "val", "") if outline is not None else ""
        if level in tuple("012345678"):
            return int(level) + 1
        style = properties.find(_W + "pStyle")
        return self._styles.get(style.get(_W + "val", "")) if style is not None else None

    def _table(self, table: Any, level: int) -> Iterator[Block]:
        if level > MAX_TABLE_LEVELS:
            return
        rows = []
        for row in table.iterchildren(_W + "tr"):
            self._number += 1
            rows.append((self._number, self._cells(row)))
        columns: list[str] = []
        if is_header([cells for _, cells in rows]):
            columns = rows.pop(0)[1]
        for number, cells in rows:
            yield Block(row_text(columns, cells), self._headings.trail, f"paragraph {number}")

    def _cells(self, row: Any) -> list[str]:
        self._source.check()
        cells: list[str] = []
        for cell in row.iterchildren(_W + "tc"):
            cells.append(" ".join(_text_of(cell).split()))
            span = cell.find(f"{_W}tcPr/{_W}gridSpan")
            width = span.get(_W + "val", "1") if span is not None else "1"
            width = int(width) if width.isascii() and width.isdigit() and len(width) < 4 else 1
            cells.extend([""] * (width - 1))
        return cells[:MAX_CELLS]


def _text_of(element: Any) -> str:
    """The text in `element`, without the copies that are there for old programs."""
    texts: list[str] = []
    skipped = {id(inner) for old in element.iter(_OLD_COPY) for inner in old.iter()}
    for inner in element.iter(_W + "t", _W + "tab", _W + "br", _W + "cr", _W + "p"):
        if skipped and id(inner) in skipped:
            continue
        if inner.tag == _W + "t":
            texts.append(inner.text or "")
        elif inner.tag == _W + "tab":
            if inner.getparent().tag != _W + "tabs":
                texts.append("\t")
        else:
            texts.append("\n")
    return "".join(texts).strip("\n")
