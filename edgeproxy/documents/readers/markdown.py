"""Markdown: paragraphs, lists, code and rows of tables below their headings.

What marks words inside a paragraph stays: models read it as people do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import MAX_BLOCK, Source
from edgeproxy.documents.tables import row_text
from edgeproxy.documents.trails import Headings

MAX_FRONT_MATTER = 200
"""How many lines a front matter has at most; a longer one is an ordinary text."""

_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t:-]*)*$")
_CELL_EDGE = re.compile(r"(?<!\\)\|")
_COMMENT = re.compile(r"[ \t]*<!--.*-->[ \t]*$")


class _Reader:
    """Lines are given one by one; `done` are the blocks that they have completed."""

    def __init__(self) -> None:
        self.done: list[Block] = []
        self._headings = Headings()
        self._lines: list[str] = []
        self._length = 0
        self._begin = 1
        self._fence = ""
        self._columns: list[str] | None = None

    def add(self, number: int, line: str) -> None:
        """Take a line."""
        if self._fence:
            if (match := _FENCE.match(line)) and self._closes(match):
                self._fence = ""
                self.end_block()
            else:
                self._keep(number, line)
        elif not line or line.isspace():
            self.end_block()
        elif match := _HEADING.match(line):
            self.end_block()
            self._heading(len(match[1]), _heading_text(line[match.end() :]), number)
        elif match := _FENCE.match(line):
            self.end_block()
            self._fence = match[1]
        elif len(self._lines) == 1 and self._columns is None and self._follows_title(line):
            title, begin = self._lines.pop(), self._begin
            self._length = 0
            self._heading(1 if "=" in line else 2, title, begin)
        elif len(self._lines) == 1 and "|" in self._lines[0] and _TABLE_RULE.match(line):
            self._columns = _cells(self._lines.pop())
            self._length = 0
        elif self._columns is not None:
            self._row(number, line)
        elif not _COMMENT.match(line):
            self._keep(number, line)

    def end(self) -> None:
        """Complete what is under way."""
        self.end_block()
        self._put(self._headings.end())

    def end_block(self) -> None:
        """Complete a paragraph, list, table or code."""
        if self._lines:
            text = "\n".join(self._lines)
            self._put(Block(text, self._headings.trail, f"line {self._begin}"))
        self._lines, self._length, self._columns = [], 0, None

    def _put(self, block: Block | None) -> None:
        if block:
            self.done.append(block)

    def _keep(self, number: int, line: str) -> None:
        if self._length + len(line) >= MAX_BLOCK:
            fence = self._fence
            self.end_block()
            self._fence = fence
        if not self._lines:
            self._begin = number
        self._lines.append(line)
        self._length += len(line) + 1

    def _heading(self, level: int, text: str, number: int) -> None:
        self._put(self._headings.add(level, text.strip("*_ \t"), f"line {number}"))

    def _row(self, number: int, line: str) -> None:
        text = row_text(self._columns or (), _cells(line))
        self._put(Block(text, self._headings.trail, f"line {number}"))

    def _closes(self, match: re.Match[str]) -> bool:
        same = match[1][0] == self._fence[0] and len(match[1]) >= len(self._fence)
        return same and not match[2].strip()

    def _follows_title(self, line: str) -> bool:
        above = self._lines[0].lstrip()
        return bool(_UNDERLINE.match(line)) and not above.startswith(("- ", "* ", "+ ", ">", "|"))


def read(source: Source) -> Iterator[Block]:
    """Its blocks, each with the line where it begins. Raises `OSError`."""
    reader = _Reader()
    front: list[str] | None = None
    for number, line in source.lines():
        if number == 1 and line.rstrip() == "---" and front is None:
            front = []
        elif front is not None and line.rstrip() in ("---", "..."):
            yield Block("\n".join(front), (), "line 2")
            front = None
        elif front is not None:
            front.append(line)
            if len(front) > MAX_FRONT_MATTER:
                _take_back(reader, front)
                front = None
        else:
            reader.add(number, line)
        if reader.done:
            yield from reader.done
            reader.done.clear()
    if front is not None:
        _take_back(reader, front)
    reader.end()
    yield from reader.done


def _take_back(reader: _Reader, lines: list[str]) -> None:
    """Read what was no front matter after all."""
    for number, line in enumerate(lines, 2):
        reader.add(number, line)


def _heading_text(text: str) -> str:
    """A heading's text without the signs that may close it: "## Rivers ##"."""
    text = text.strip()
    bare = text.rstrip("#")
    return bare.rstrip() if bare != text and (not bare or bare[-1] in " \t") else text


def _cells(line: str) -> list[str]:
    cells = [cell.strip().replace("\\|", "|") for cell in _CELL_EDGE.split(line.strip())]
    if cells and not cells[0]:
        cells = cells[1:]
    return cells[:-1] if cells and not cells[-1] else cells
