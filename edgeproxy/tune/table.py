"""The rows of a table, CSV or TSV: from a spreadsheet of any language.

The first line names the columns. Fields are quoted as RFC 4180 says; what stands between them is
what makes sense of the first line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial

from edgeproxy.errors import UsageError
from edgeproxy.tune.layouts import Fields, table_columns
from edgeproxy.tune.lines import Lines, Record, fail

DELIMITERS = {".csv": ",;\t", ".tsv": "\t,;"}
"""By the end of a file's name: what may stand between fields, tried in this order."""


class Table:
    """The rows of CSV. A row has as many fields as the first, which names the columns."""

    def __init__(self, lines: Lines, delimiters: str, columns: Sequence[str] | None) -> None:
        self._lines = lines
        try:
            first = lines.read_text()
        except UsageError as error:
            raise UsageError(f"{lines.path}:1: {error}") from None
        self._header, delimiter = self._sniff(first, delimiters, columns)
        self.kind = "TSV" if delimiter == "\t" else "CSV"
        self._rows = csv.reader(_Texts(lines), delimiter=delimiter, strict=True)

    def _sniff(
        self, first: str, delimiters: str, columns: Sequence[str] | None
    ) -> tuple[Sequence[str], str]:
        """The names of the columns, and what stands between them: whatever makes sense of them."""
        longest: list[str] = []
        for delimiter in delimiters:
            try:
                header = next(csv.reader([first], delimiter=delimiter, strict=True), [])
            except csv.Error:
                continue
            header = [name.strip().casefold() for name in header]
            if columns is not None:  # by the user's spelling of them
                own = {name.strip().casefold(): name for name in columns}
                header = [own.get(name, name) for name in header]
            wanted = columns or table_columns(header)
            if wanted and all(header.count(name) == 1 for name in wanted):
                return header, delimiter
            longest = max(longest, header, key=len)
        names = ", ".join(repr(name[:40]) for name in longest[:8]) or "none"
        lacking = (
            f"a column {columns[0]} and a column {columns[1]}"
            if columns
            else "two columns that are known to hold question and answer"
        )
        raise UsageError(
            f"{self._lines.path}:1: the first line does not name {lacking}, each once, but "
            f"{names}; say which they are with --columns QUESTION,ANSWER"
        )

    def __iter__(self) -> Iterator[Record]:
        while True:
            line = self._lines.number + 1
            try:
                row = next(self._rows)
            except StopIteration:
                return
            except UsageError as error:
                yield Record(line, partial(fail, error))
            except csv.Error as error:
                wrong = UsageError(f"this row is not CSV ({error}); see to its quotes")
                yield Record(line, partial(fail, wrong))
            else:
                if any(field.strip() for field in row):
                    yield Record(line, partial(self._fields, row))

    def _fields(self, row: Sequence[str]) -> Fields:
        if len(row) != len(self._header):
            raise UsageError(f"this row has {len(row)} fields, and {len(self._header)} are named")
        return dict(zip(self._header, row, strict=True))


class _Texts(Iterator[str]):
    """The lines of a file as text. It goes on after an error, as no generator does."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __next__(self) -> str:
        if text := self._lines.read_text():
            return text
        raise StopIteration
