"""Searching the messages of all sessions: by SQLite's full-text search, or by reading each.

The words are brought up to date at each search, so that keeping a message never waits for them and
never fails for their sake. Where SQLite has no full-text search, where the history cannot be
written to, or where the words are damaged, every message is read instead.
"""

from __future__ import annotations

import functools
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from edgeproxy.documents.cleaning import clean, one_line
from edgeproxy.documents.quoting import quotation
from edgeproxy.documents.words import is_unspaced, spaced
from edgeproxy.errors import HistoryError, UsageError
from edgeproxy.history.database import rows
from edgeproxy.history.records import (
    ENTRY_COLUMNS,
    Damaged,
    Hit,
    SessionInfo,
    entry_of,
    from_column,
)
from edgeproxy.history.schema import WORDS

_AT_ONCE = 500
"""Messages whose words are kept in one transaction."""
_MOST = 10_000
"""So many hits at most, where no limit is given."""
_MANY_SPANS = 200
_OF_WORDS = ("words_data", "words_idx", "words_docsize")
"""Where FTS5 keeps the words."""
_MAX_WORDS = 100
"""So many words are searched for; SQLite refuses very long expressions."""

_BMP = 0x10000


class Opens(Protocol):
    """What searching needs of a `History`."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection | None]: ...  # noqa: D102

    def writing(self) -> AbstractContextManager[sqlite3.Connection]: ...  # noqa: D102

    def infos(self, ids: list[str]) -> Mapping[str, SessionInfo]: ...  # noqa: D102


def search(history: Opens, words: str, limit: int | None) -> list[Hit]:
    """See `History.search`."""
    typed = [word for word in dict.fromkeys(clean(words).split()) if _tokens().search(word)]
    typed = typed[:_MAX_WORDS]
    if not typed:
        raise UsageError("there is no word to search for; give letters or digits")
    wanted = [_fold(part) for word in typed for part in _tokens().findall(word)]
    most = _MOST if limit is None else limit
    try:
        _update(history)
        found = _by_words(history, typed, most)
    except HistoryError:
        found = _by_reading(history, wanted, most)
    infos = history.infos(sorted({str(row[0]) for row in found}))
    hits = []
    with history.reading():  # which tells what is damaged
        for session, *columns in found:
            entry = entry_of(columns)
            if session in infos:
                text = clean(entry.said.text)
                excerpt = one_line(quotation(text, _spans(text, wanted)))
                spans = tuple(_spans(excerpt, wanted))
                hits.append(Hit(infos[session], entry, excerpt, spans))
    return hits


def forget(connection: sqlite3.Connection, session: str) -> None:
    """Remove a session's words, before its messages are. Raises as SQLite.

    Where this SQLite has no full-text search they stay; nothing leads from them to a text. Where
    they are damaged all words are deleted, and every message is read from then on.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone():
        return
    try:
        last = _last(connection)
        texts = connection.execute(
            "SELECT id, text FROM messages WHERE session = ? AND id <= ? AND role <> 'system'",
            (session, last),
        ).fetchall()
        connection.executemany(
            "INSERT INTO words(words, rowid, text) VALUES('delete', ?, ?)",
            ((number, _indexed(text)) for number, text in texts),
        )
        connection.execute("INSERT INTO words(words) VALUES('optimize')")  # forgets for good
    except (sqlite3.DatabaseError, Damaged) as error:
        if "no such module" in str(error):
            return
        if not connection.in_transaction:  # the disk is full, and SQLite has taken all back
            raise
        for table in _OF_WORDS:
            connection.execute(f"DELETE FROM {table}")


@functools.cache
def _tokens() -> re.Pattern[str]:
    """Words: letters, digits and the marks on them, of which `re` has no class."""
    marks = "".join(
        c for c in map(chr, range(0x300, _BMP)) if unicodedata.category(c).startswith("M")
    )
    return re.compile(rf"[^\W_](?:[^\W_]|[{marks}])*")


def _update(history: Opens) -> None:
    """Keep the words of messages that came since the last search."""
    with history.reading() as connection:
        if connection is None or not _unkept(connection, 1):
            return
    while True:
        with history.writing() as connection:
            connection.execute(WORDS)
            unkept = _unkept(connection, _AT_ONCE)
            connection.executemany(
                "INSERT INTO words(rowid, text) VALUES(?, ?)",
                ((number, _indexed(text)) for number, text in unkept),
            )
        if len(unkept) < _AT_ONCE:
            return


def _unkept(connection: sqlite3.Connection, count: int) -> list[tuple[int, object]]:
    has_words = "SELECT 1 FROM sqlite_master WHERE name = 'words'"
    last = _last(connection) if connection.execute(has_words).fetchone() else 0
    return connection.execute(
        "SELECT id, text FROM messages WHERE id > ? AND role <> 'system' ORDER BY id LIMIT ?",
        (last, count),
    ).fetchall()


def _last(connection: sqlite3.Connection) -> int:
    """The id of the last message whose words are kept; 0 for none."""
    row = connection.execute("SELECT rowid FROM words ORDER BY rowid DESC LIMIT 1").fetchone()
    return row[0] if row else 0


def _indexed(column: object) -> str:
    return spaced(clean(from_column(column)))


def _by_words(history: Opens, typed: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    # Quoted, a word is no syntax; what it has several parts of, as don't has, is a phrase.
    query = " AND ".join(f'"{spaced(word).strip()}" *' for word in _without_quotes(typed))
    with history.reading() as connection:
        if connection is None:
            return []
        return rows(
            connection,
            f"SELECT m.session, {ENTRY_COLUMNS} FROM words w JOIN messages m ON m.id = w.rowid "
            "WHERE words MATCH ? ORDER BY m.id DESC LIMIT ?",
            (query, limit),
        )


def _without_quotes(typed: Sequence[str]) -> list[str]:
    return [word.replace('"', " ") for word in typed]


def _by_reading(history: Opens, wanted: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    with history.reading() as connection:
        if connection is None:
            return []
        every = connection.execute(
            f"SELECT m.session, {ENTRY_COLUMNS} FROM messages m WHERE m.role <> 'system' "
            "ORDER BY m.id DESC"
        )
        found: list[tuple[Any, ...]] = []
        for row in every:
            if len(found) == limit:
                break
            text = clean(from_column(row[4]))
            if all(any(_occurrences(text, [word])) for word in wanted):
                found.append(row)
        return found


def _spans(text: str, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Where in `text` what was searched for stands, up to `_MANY_SPANS` places."""
    return [span for span, _ in zip(_occurrences(text, wanted), range(_MANY_SPANS), strict=False)]


def _occurrences(text: str, wanted: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where words of `text` begin with one of `wanted`, which are folded.

    In scripts without spaces it may stand anywhere in a run of characters.
    """
    for found in _tokens().finditer(text):
        word = _fold(found[0])
        for part in wanted:
            at = word.find(part)
            if at == 0 or (at > 0 and is_unspaced(part)):
                start, end = found.span()
                if len(word) == end - start:
                    start, end = start + at, start + at + len(part)
                yield start, end
                break


def _fold(word: str) -> str:
    """`word` without case and accents."""
    if word.isascii():
        return word.lower()
    kept = (c for c in unicodedata.normalize("NFD", word.casefold()) if not _is_accent(c))
    return unicodedata.normalize("NFC", "".join(kept))


def _is_accent(c: str) -> bool:
    return "\u0300" <= c <= "\u036f"
