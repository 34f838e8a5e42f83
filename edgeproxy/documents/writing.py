"""Rows of an index, written: a document's are replaced whole, and its words go with them.

The connection is one of `database.open_to_write`; every method raises SQLite's errors.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from edgeproxy.documents.index import (
    index_words,
    read_setting,
    read_trail,
    write_trail,
)
from edgeproxy.documents.passages import Cut

COMMON_SHARE = 0.02
"""A word that stands in more than this share of the passages is a common one."""

GROWTH = 0.1
"""Common words are counted anew when so much of the passages, or more, came or went since."""

_AT_ONCE = 250
_STEPS = 20_000
"""Steps of SQLite's machine between two looks whether to stop: some milliseconds."""


class Row(NamedTuple):
    """What an index keeps of a document beside its passages."""

    path: bytes
    size: int
    mtime_ns: int
    sha256: bytes
    kind: str
    encoding: str
    problem: str | None = None


class Writer:
    """Writes rows in transactions: `begin`, some changes, `commit`.

    `is_amid` tells that a change has begun and not ended: then only `rollback` leaves it sound.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.is_amid = False
        self._next = self._free()

    def begin(self) -> None:
        """Begin a transaction unless one is under way."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Keep the changes of this transaction, if there is one."""
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Drop the changes of this transaction, if there is one."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.is_amid = False
        self._next = self._free()

    def replace(
        self, row: Row, passages: Iterable[Cut], looked: Callable[[], None] = lambda: None
    ) -> int:
        """Put `row` and its passages in the place of what was kept of that path; how many passages.

        `looked` is called now and then, and may raise.
        """
        self.is_amid = True
        found = self.connection.execute("SELECT id FROM documents WHERE path = ?", [row.path])
        old = found.fetchone()
        if old is not None:
            self._remove_passages(old[0], looked)
        done = self.connection.execute(
            "INSERT INTO documents(path, size, mtime_ns, sha256, kind, encoding, problem)"
            " VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(path) DO UPDATE SET size=excluded.size,"
            " mtime_ns=excluded.mtime_ns, sha256=excluded.sha256, kind=excluded.kind,"
            " encoding=excluded.encoding, problem=excluded.problem",
            row,
        )
        document = int(done.lastrowid or 0) if old is None else int(old[0])
        count = 0
        source = iter(passages)
        while some := list(islice(source, _AT_ONCE)):
            self._insert(document, count, some)
            count += len(some)
            looked()
        self.is_amid = False
        return count

    def note(self, row: Row) -> None:
        """Change what is kept of a document beside its passages."""
        self.connection.execute(
            "UPDATE documents SET size = ?, mtime_ns = ?, sha256 = ?, kind = ?, encoding = ?,"
            " problem = ? WHERE path = ?",
            [*row[1:], row.path],
        )

    def remove(self, document: int, looked: Callable[[], None] = lambda: None) -> None:
        """Remove a document, by its number, and all that is kept of it."""
        self.is_amid = True
        self._remove_passages(document, looked)
        self.connection.execute("DELETE FROM documents WHERE id = ?", [document])
        self.is_amid = False

    def set(self, name: str, value: str) -> None:
        """Keep a setting."""
        self.connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", [name, value])

    def count_common(self, stop: Callable[[], bool]) -> bool:
        """Count common words anew if the index has changed much; whether that was done.

        `stop` is asked now and then; once it says so, SQLite raises "interrupted".
        """
        [passages] = self.connection.execute("SELECT count(*) FROM passages").fetchone()
        before = int(read_setting(self.connection, "common_at") or 0)
        if abs(passages - before) <= GROWTH * before and before:
            return False
        self.connection.set_progress_handler(stop, _STEPS)
        try:
            found = self.connection.execute(
                "SELECT term, doc FROM vocabulary WHERE doc > ?", [COMMON_SHARE * passages]
            ).fetchall()
        finally:
            self.connection.set_progress_handler(None, 0)
        self.begin()
        self.connection.execute("DELETE FROM common")
        self.connection.executemany("INSERT INTO common VALUES(?, ?)", found)
        self.set("common_at", str(passages))
        self.commit()
        return True

    def _insert(self, document: int, number: int, passages: list[Cut]) -> None:
        first = self._next
        self._next += len(passages)
        self.connection.executemany(
            "INSERT INTO passages VALUES(?, ?, ?, ?, ?, ?)",
            [
                (first + at, document, number + at, write_trail(cut.trail), cut.place, cut.text)
                for at, cut in enumerate(passages)
            ],
        )
        self.connection.executemany(
            "INSERT INTO words(rowid, trail, text) VALUES(?, ?, ?)",
            [(first + at, *index_words(c.trail, c.text)) for at, c in enumerate(passages)],
        )

    def _remove_passages(self, document: int, looked: Callable[[], None]) -> None:
        execute = self.connection.execute
        while rows := execute(
            "SELECT id, trail, text FROM passages WHERE document = ? LIMIT ?", [document, _AT_ONCE]
        ).fetchall():
            ids = [(row[0],) for row in rows]
            # A table of words without the texts has to be told what to forget.
            self.connection.executemany(
                "INSERT INTO words(words, rowid, trail, text) VALUES('delete', ?, ?, ?)",
                _forgotten(rows),
            )
            self.connection.executemany("DELETE FROM passages WHERE id = ?", ids)
            self.connection.executemany("DELETE FROM vectors WHERE passage = ?", ids)
            looked()

    def _free(self) -> int:
        """A number that no passage has, nor one after it."""
        [last] = self.connection.execute("SELECT max(id) FROM passages").fetchone()
        return (last or 0) + 1


def _forgotten(rows: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    for number, trail, text in rows:
        try:
            yield (number, *index_words(read_trail(trail), text))
        except (ValueError, TypeError, AttributeError):
            raise sqlite3.DatabaseError("a passage is no text") from None
