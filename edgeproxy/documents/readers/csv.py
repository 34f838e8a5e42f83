"""CSV and TSV: each row by the names of its columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice

from edgeproxy.documents.cleaning import one_line
from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import Source
from edgeproxy.documents.tables import is_header, row_text

DELIMITERS = ",;\t|"
MAX_ROW = 1 << 20
"""How many characters a row has at most; a quote that never ends would make one of a whole file."""

_SAMPLE_ROWS = 20


class _Lines:
    """A file's lines for `csv.reader`, which asks for as many as a row has."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = source.long_lines(MAX_ROW)
        self.row = 1
        self._length = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self._length += len(line)
        if self._length > MAX_ROW:
            raise self._source.unreadable(
                f"row {self.row} has more than {MAX_ROW:,} characters by line {number}; a "
                "quotation mark may be open"
            )
        return line.replace("\0", "")

    def next_row(self) -> None:
        """Count the next row."""
        self.row += 1
        self._length = 0


def read(source: Source) -> Iterator[Block]:
    """Its rows, numbered as a spreadsheet does, from 1 and with the row of names.

    Raises `UnreadableError` for a row or a field that never ends, `OSError`.
    """
    rows = _rows(source, _delimiter(source))
    first = list(islice(rows, _SAMPLE_ROWS))
    columns: list[str] = []
    for number, above in _titles(first):
        yield Block(row_text((), above), (), f"row {number}")
        first = first[1:]
    if is_header([row for _, row in first]):
        columns = [one_line(cell) for cell in first[0][1]]
        first = first[1:]
    for number, row in chain(first, rows):
        yield Block(row_text(columns, row), (), f"row {number}")


def _titles(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The rows above a table that have one filled cell where the table has several."""
    filled = [sum(1 for cell in row if cell.strip()) for _, row in rows]
    if not filled or max(filled) < 3:
        return []
    count = next(i for i, cells in enumerate(filled) if cells > 1)
    return rows[:count]


def _rows(source: Source, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their numbers."""
    lines = _Lines(source)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise source.unreadable(f"row {lines.row} cannot be read: {error}") from None
        if any(cell and not cell.isspace() for cell in row):
            yield lines.row, row
        lines.next_row()


def _delimiter(source: Source) -> str:
    """The sign that parts the most of the first lines into the same number of cells."""
    if source.path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    sample = [line for _, line in islice(source.long_lines(MAX_ROW), _SAMPLE_ROWS)]
    return max(DELIMITERS, key=lambda sign: _evenness(sample, sign))


def _evenness(lines: list[str], sign: str) -> tuple[int, int]:
    """How many lines have the commonest number of cells above one, and that number."""
    try:
        rows = list(csv.reader(lines, delimiter=sign, skipinitialspace=True))
    except csv.Error:
        return 0, 0
    counts = [len(row) for row in rows if len(row) > 1]
    if not counts:
        return 0, 0
    commonest = max(sorted(set(counts)), key=counts.count)
    return counts.count(commonest), commonest
