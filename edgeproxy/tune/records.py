"""A file of examples cut into records, each with the line where it begins; nothing is held.

    .csv, .tsv                a record a row; the first row names the columns
    any other, first a [      a JSON array of objects
    any other                 an object of JSON a line

May touch: the file, read-only.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path

from edgeproxy.core.utf8 import decode
from edgeproxy.errors import UsageError
from edgeproxy.files import CHUNK, open_regular
from edgeproxy.tune.json_array import array_records
from edgeproxy.tune.layouts import Fields
from edgeproxy.tune.lines import Lines, Record, fail, json_object
from edgeproxy.tune.table import DELIMITERS, Table

Columns = Sequence[str]
"""The names of two: that of the question, and that of the answer."""


class Records:
    """The records of a file; see `open_records`."""

    def __init__(self, lines: Lines, columns: Columns | None, suffix: str) -> None:
        self._lines = lines
        self.kind: str
        """What the file is made of, such as "JSON lines"."""
        if suffix in DELIMITERS:
            table = Table(lines, DELIMITERS[suffix], columns)
            self.kind, self._records = table.kind, iter(table)
        elif lines.peek().removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            self.kind, self._records = "a JSON array", array_records(lines)
        else:
            self.kind, self._records = "JSON lines", _json_lines(lines)

    def __iter__(self) -> Iterator[Record]:
        return self._records

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._lines.share


@contextmanager
def open_records(path: Path, columns: Columns | None = None) -> Iterator[Records]:
    """The records of the file at `path`; `columns` names those that hold question and answer.

    Raises `OSError`, and `UsageError` for a file that is not UTF-8 throughout or a table without
    such columns.
    """
    if columns is not None and (len(columns) != 2 or columns[0] == columns[1]):
        raise UsageError(f"--columns names two, as QUESTION,ANSWER; not {','.join(columns)}")
    with open_regular(path) as raw, BufferedReader(raw, CHUNK) as file:
        yield Records(Lines(path, file, path.stat().st_size), columns, path.suffix.lower())


def _json_lines(lines: Lines) -> Iterator[Record]:
    while True:
        try:
            line = lines.read()
        except UsageError as error:
            yield Record(lines.number, partial(fail, error))
            continue
        if not line:
            return
        if line.strip():
            yield Record(lines.number, partial(_parse, line))


def _parse(line: bytes) -> Fields:
    text = decode(line, "this line")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError("this line is not an object of JSON, as each line should be") from None
    return json_object(content)
