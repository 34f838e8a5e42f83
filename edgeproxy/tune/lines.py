"""The lines of a file of examples, and the records that are made of them.

May touch: the file that it is given, read-only.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

from edgeproxy.core.utf8 import decode
from edgeproxy.errors import UsageError
from edgeproxy.files import CHUNK
from edgeproxy.tune.layouts import Fields

MAX_LINE = 4 << 20
"""The most bytes of one record: far more than a context holds."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Record:
    """Something in a file that may be an example, and the line where it begins."""

    line: int
    fields: Callable[[], Fields]
    """Raises `UsageError` saying what is wrong."""


class Lines:
    """The lines of a file as bytes. Raises `UsageError` for one that is too long, and goes on."""

    def __init__(self, path: Path, file: BufferedReader[FileIO], size: int) -> None:
        self.path = path
        self.number = 0
        """That of the last line read, from 1."""
        self._file, self._size, self._done = file, size, 0
        if self.peek().startswith(_UTF16):
            raise UsageError(f"{path}: it looks like UTF-16; convert it to UTF-8 first")

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return min(1.0, self._done / self._size) if self._size else 1.0

    def peek(self) -> bytes:
        """The next bytes, which stay to be read."""
        return self._file.peek(1)

    def read(self) -> bytes:
        """The next line with its end, without UTF-8's mark; nothing at the end of the file."""
        line = self._file.readline(MAX_LINE + 1)
        self._done += len(line)
        self.number += bool(line)
        if len(line) <= MAX_LINE:
            return line.removeprefix(codecs.BOM_UTF8) if self.number == 1 else line
        while line and not line.endswith(b"\n"):
            line = self._file.readline(MAX_LINE)
            self._done += len(line)
        raise UsageError(f"it has more than {MAX_LINE >> 20} MB")

    def read_text(self) -> str:
        """The next line, as text. Raises `UsageError` also where it is none."""
        return decode(self.read(), "this line")

    def read_block(self) -> bytes:
        """Some bytes; nothing at the end of the file."""
        block = self._file.read(CHUNK)
        self._done += len(block)
        return block


def json_object(content: object) -> Fields:
    """`content` of JSON, if it is an object. Raises `UsageError` saying what it is instead."""
    if not isinstance(content, dict):
        raise UsageError(f"here is no object of JSON but {_JSON_NAMES[type(content)]}")
    return content


_JSON_NAMES: dict[type, str] = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def fail(error: UsageError) -> Fields:
    """The fields of a record that could not be read."""
    raise error
