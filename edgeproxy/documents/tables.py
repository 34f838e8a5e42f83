"""Rows of tables as text: "column: value; column: value"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from edgeproxy.documents.cleaning import one_line

MAX_COLUMN_NAME = 80

_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_NUMBER = re.compile(r"[^\w(]{0,3}\d[\d.,:/%\s-]*\w?")


def row_text(columns: Sequence[str], cells: Iterable[str]) -> str:
    """A row's cells, each behind its column's name where it has one; empty cells are left out."""
    pairs = zip_longest(columns, map(one_line, cells), fillvalue="")
    return "; ".join(f"{name}: {value}" if name else value for name, value in pairs if value)


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of `rows` names the columns.

    It does unless something speaks against it: it is the only row, a cell of it is empty (the first
    one may be), long, a number other than one of several years, twice there, or stands again below
    itself.
    """
    if len(rows) < 2:
        return False
    first = [one_line(cell) for cell in rows[0]]
    if not any(first) or "" in first[1:] or len(set(first)) < len(first):
        return False
    if any(len(cell) > MAX_COLUMN_NAME for cell in first):
        return False
    numbers = [cell for cell in first if _NUMBER.fullmatch(cell)]
    if numbers and (numbers[0] == first[0] or len(numbers) < 2):
        return False
    if not all(_YEAR.fullmatch(cell) for cell in numbers):
        return False
    return not any(
        name and name == one_line(cell)
        for row in rows[1:]
        for name, cell in zip(first, row, strict=False)
    )
