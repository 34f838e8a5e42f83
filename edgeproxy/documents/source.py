"""A document's open file, as readers read it: in chunks of text, stretches, or lines.

May touch: the file that it is given, read only.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.encodings import CHUNK
from edgeproxy.errors import Cancelled, UnreadableError

MAX_BLOCK = 16_000
"""How many characters a block has at most: 64 kB where each takes four bytes."""

MAX_PROBLEMS = 20

_BLANK_LINES = re.compile(r"\n[ \t]*\n[ \t\n]*")


class Source:
    """A file under its path; `codec` is Python's name of its encoding where it is text.

    `problems` says what parts of it were left out, and why.
    `heard` is looked at between chunks: once it is set, whatever reads raises `Cancelled`.
    """

    def __init__(self, path: Path, file: FileIO, heard: Cancel | None = None) -> None:
        self.path = path
        self.file = file
        self.codec = "utf-8"
        self.problems: list[str] = []
        self._heard = heard

    def note(self, problem: str) -> None:
        """Note a part of the file that was left out, and why; the first few are kept."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def check(self) -> None:
        """Raise `Cancelled` once the caller wants no more."""
        if self._heard is not None and self._heard.is_set():
            raise Cancelled(f"the reading of {self.path} was cancelled")

    def unreadable(self, what: str) -> UnreadableError:
        """An error about this file."""
        return UnreadableError(self.path, what)

    def size(self) -> int:
        """How many bytes the file has now."""
        end = self.file.seek(0, io.SEEK_END)
        self.file.seek(0)
        return end

    def texts(self) -> Iterator[str]:
        """Its text in chunks, with line feeds alone at the ends of lines. Raises `OSError`."""
        inner = codecs.getincrementaldecoder(self.codec)("replace")
        decoder = io.IncrementalNewlineDecoder(inner, translate=True)
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            self.check()
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)

    def stretches(self) -> Iterator[tuple[int, str]]:
        """What stands between blank lines, with the number of the line where it begins.

        A stretch that is longer than `MAX_BLOCK` comes in pieces.
        """
        line, rest = 1, ""
        for text in self.texts():
            rest += text
            start = 0
            for match in _BLANK_LINES.finditer(rest):
                if match.end() == len(rest):
                    break  # more of the blank may follow
                yield line, rest[start : match.start()]
                line += rest.count("\n", start, match.end())
                start = match.end()
            rest = rest[start:]
            while len(rest) > MAX_BLOCK:
                end = cut(rest, MAX_BLOCK)
                yield line, rest[:end]
                line += rest.count("\n", 0, end)
                rest = rest[end:]
        for piece in pieces(rest):
            yield line, piece
            line += piece.count("\n")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Its lines without their ends, numbered from 1; one beyond `MAX_BLOCK` in pieces."""
        number, rest = 1, ""
        for text in self.texts():
            *whole, rest = (rest + text).split("\n")
            for line in whole:
                for piece in pieces(line) if len(line) > MAX_BLOCK else (line,):
                    yield number, piece
                number += 1
            while len(rest) > MAX_BLOCK:
                end = cut(rest, MAX_BLOCK)
                yield number, rest[:end]
                rest = rest[end:]
        if rest:
            yield number, rest

    def long_lines(self, most: int) -> Iterator[tuple[int, str]]:
        """Its lines with their ends, numbered from 1.

        Raises `UnreadableError` for a line of more than `most` characters.
        """
        number, rest = 1, ""
        for text in self.texts():
            *whole, rest = (rest + text).split("\n")
            for line in whole:
                self._check_line(number, line, most)
                yield number, line + "\n"
                number += 1
            self._check_line(number, rest, most)
        if rest:
            yield number, rest

    def _check_line(self, number: int, line: str, most: int) -> None:
        if len(line) > most:
            raise self.unreadable(f"line {number} has more than {most:,} characters")

    def whole(self, most: int, what: str) -> str:
        """All its text; `UnreadableError` with `what` for a file of more than `most` bytes."""
        if self.size() > most:
            raise self.unreadable(what)
        return "".join(self.texts())


def cut(text: str, most: int) -> int:
    """Where to cut `text` so that the piece has at most `most` characters: behind a line or word.

    Half of `most` at least, so that a text ends in few pieces.
    """
    for sign in ("\n", " "):
        found = text.rfind(sign, most // 2, most)
        if found >= 0:
            return found + 1
    return most


def pieces(text: str, most: int = MAX_BLOCK) -> Iterator[str]:
    """`text` in pieces of at most `most` characters."""
    while len(text) > most:
        end = cut(text, most)
        yield text[:end]
        text = text[end:]
    if text:
        yield text
