"""An index of documents, to read: what is in it, and passages by their numbers.

Any number of processes may read it, also while it is written to.

May touch: the index's file, read only.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproxy.documents.database import BESIDE, damaged, open_to_read, telling
from edgeproxy.documents.passage import TRAIL, Passage
from edgeproxy.documents.passages import MAX_SIZE, MIN_SIZE, Sizing
from edgeproxy.documents.sizes import LEAST, MOST, Ratios
from edgeproxy.documents.words import spaced

_AT_ONCE = 500
"""So many passages are asked for in one statement."""

PASSAGES = """
    SELECT passages.id, documents.path, passages.number, passages.trail, passages.place,
           passages.text
    FROM passages JOIN documents ON documents.id = passages.document
"""
"""The rows that a `Passage` is made of."""


@dataclass(frozen=True)
class Document:
    """A file in an index, and how many passages it has.

    `problem` says why it could not be read, and is None where it could. `is_settled` is false where
    it changed while it was read: the next run reads it again.
    """

    path: Path
    size: int
    kind: str
    encoding: str
    passages: int
    problem: str | None
    is_settled: bool


@dataclass(frozen=True)
class Counts:
    """What is in an index: `size` is of its file, in bytes, `read` that of its documents."""

    documents: int
    passages: int
    problems: int
    read: int
    size: int
    kinds: dict[str, int]
    encodings: dict[str, int]


class Index:
    """The index at `path`, open to read. Close it, or use it in a `with`.

    `connection` is SQLite's, for who searches; its errors become `DocumentError` in `telling`, as
    those of all methods do. Raises `DocumentError` where there is no index that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_to_read(path)

    def telling(self) -> Any:
        """A context in which whatever SQLite raises becomes a `DocumentError` of this index."""
        return telling(self.path)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self.connection.close()

    @property
    def sizing(self) -> Sizing:
        """How large its passages are."""
        with telling(self.path):
            return read_sizing(self.connection, self.path)

    def setting(self, name: str) -> str | None:
        """The setting called `name`, None where there is none."""
        with telling(self.path):
            return read_setting(self.connection, name)

    def roots(self) -> list[Path]:
        """The folders and files that it is of."""
        return [Path(os.fsdecode(path)) for (path,) in self._rows("SELECT path FROM roots", bytes)]

    def counts(self) -> Counts:
        """How many of what is in it."""
        one = "SELECT count(*), ifnull(sum(size), 0), count(problem) FROM documents"
        [(documents, read, problems)] = self._rows(one, int, int, int)
        [(passages,)] = self._rows("SELECT count(*) FROM passages", int)
        by = "SELECT {0}, count(*) FROM documents WHERE problem IS NULL AND {0} != '' GROUP BY {0}"
        kinds, encodings = (
            dict(sorted(self._rows(by.format(what), str, int), key=lambda row: (-row[1], row[0])))
            for what in ("kind", "encoding")
        )
        return Counts(documents, passages, problems, read, file_size(self.path), kinds, encodings)

    def passage_count(self) -> int:
        """How many passages it has."""
        [(count,)] = self._rows("SELECT count(*) FROM passages", int)
        return int(count)

    def vector_count(self) -> int:
        """How many of them have a vector by an embedding model."""
        [(count,)] = self._rows("SELECT count(*) FROM vectors", int)
        return int(count)

    def documents(self) -> Iterator[Document]:
        """The documents, by their paths."""
        rows = self._rows(
            "SELECT path, size, kind, encoding, mtime_ns,"
            " (SELECT count(*) FROM passages WHERE document = documents.id), problem"
            " FROM documents ORDER BY path",
            *(bytes, int, str, str, int, int, (str, type(None))),
        )
        for path, size, kind, encoding, mtime_ns, passages, problem in rows:
            where = Path(os.fsdecode(path))
            yield Document(where, size, kind, encoding, passages, problem, mtime_ns != UNSETTLED)

    def problems(self) -> list[tuple[Path, str]]:
        """The files that could not be read, and why."""
        asked = "SELECT path, problem FROM documents WHERE problem IS NOT NULL ORDER BY path"
        return [(Path(os.fsdecode(path)), why) for path, why in self._rows(asked, bytes, str)]

    def passages(self, ids: Iterable[int]) -> list[Passage]:
        """The passages with these numbers, in this order; those that are gone are left out."""
        return in_order(ids, lambda where, values: self._passages(f"WHERE {where}", values))

    def passages_of(self, path: Path) -> Iterator[Passage]:
        """The passages of the document at `path`, in order."""
        where = "WHERE documents.path = ? ORDER BY passages.number"
        return self._passages(where, [os.fsencode(path)])

    def check(self) -> None:
        """Read all of it and compare; raises `DocumentError` where it is damaged."""
        for (said,) in self._rows("PRAGMA integrity_check(1)", str):
            if said != "ok":
                raise damaged(self.path, said)
        [(passages, words)] = self._rows(
            "SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM words_docsize)", int, int
        )
        if passages != words:
            raise damaged(self.path, f"{passages} passages, words of {words}")
        for _ in self._passages("", []):
            pass

    def _passages(self, where: str, values: list[Any]) -> Iterator[Passage]:
        rows = self._rows(PASSAGES + where, int, bytes, int, str, str, str, values=values)
        for number, path, place_in, trail, place, text in rows:
            yield Passage(
                number, Path(os.fsdecode(path)), place_in, self._trail(trail), place, text
            )

    def _trail(self, text: str) -> tuple[str, ...]:
        try:
            return read_trail(text)
        except ValueError:
            raise damaged(self.path, "a trail is no list of texts") from None

    def _rows(self, asked: str, *types: Any, values: Iterable[Any] = ()) -> Iterator[Any]:
        """The rows of a statement; whatever is not of `types` is damage."""
        with telling(self.path):
            for row in self.connection.execute(asked, list(values)):
                if not all(map(isinstance, row, types)):
                    raise damaged(self.path, "a value of a wrong type")
                yield row


UNSETTLED = -1
"""Stands for the modification time of a document that has to be looked at again."""


def in_order(
    ids: Iterable[int], rows: Callable[[str, list[int]], Iterable[Passage]]
) -> list[Passage]:
    """The passages with these numbers, in this order; those that are gone are left out.

    `rows` gives, in any order, those for which a condition of SQL holds, with its values.
    """
    wanted = list(ids)
    found: dict[int, Passage] = {}
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        found |= {each.id: each for each in rows(f"passages.id IN ({marks})", some)}
    return [found[number] for number in wanted if number in found]


def index_words(trail: tuple[str, ...], text: str) -> tuple[str, str]:
    """What the table `words` keeps of a passage; the same is given to remove it."""
    return spaced(TRAIL.join(trail)), spaced(text)


def write_trail(trail: tuple[str, ...]) -> str:
    """A trail as the table `passages` keeps it."""
    return json.dumps(trail, ensure_ascii=False) if trail else "[]"


def read_trail(text: str) -> tuple[str, ...]:
    """A trail that `write_trail` wrote. Raises `ValueError`."""
    if text == "[]":
        return ()
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(text[:80]) from None
    if not (isinstance(found, list) and all(isinstance(part, str) for part in found)):
        raise ValueError(text[:80])
    return tuple(found)


def read_setting(connection: sqlite3.Connection, name: str) -> str | None:
    """The setting called `name` of an index; None where it has none. Raises SQLite's errors."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", [name]).fetchone()
    return None if row is None else str(row[0])


def read_sizing(connection: sqlite3.Connection, path: Path) -> Sizing:
    """How large the passages of the index at `path` are. Raises SQLite's errors, DocumentError."""
    size, ratios = (read_setting(connection, name) for name in ("size", "ratios"))
    if size is None or ratios is None:
        return Sizing()
    try:
        values = [float(value) for value in ratios.split()]
        if len(values) != 3 or not all(LEAST <= value <= MOST for value in values):
            raise ValueError(ratios)
        if not MIN_SIZE <= int(size) <= MAX_SIZE:
            raise ValueError(size)
        return Sizing(int(size), Ratios(*values))
    except ValueError:
        raise damaged(path, "impossible settings") from None


def file_size(path: Path) -> int:
    """The bytes of an index and of what SQLite keeps beside it."""
    total = 0
    for end in ("", *BESIDE):
        try:
            total += path.with_name(path.name + end).stat().st_size
        except OSError:
            continue
    return total
