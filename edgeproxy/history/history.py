"""A history of conversations: sessions begun, found, read, renamed and removed.

May touch: the history's file, and those that SQLite keeps beside it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproxy import __version__
from edgeproxy.errors import HistoryError, RemovedError, UsageError
from edgeproxy.history import database, searching
from edgeproxy.history.naming import check_name, new_id, title_of
from edgeproxy.history.records import (
    ENTRY_COLUMNS,
    SESSION_COLUMNS,
    Damaged,
    Entry,
    Hit,
    Loaded,
    Said,
    SessionInfo,
    entry_of,
    now,
    path_to,
    session_of,
    to_column,
    to_json,
)

_SESSIONS = (
    f"SELECT {SESSION_COLUMNS}, (SELECT COUNT(*) FROM messages WHERE session = s.id "
    "AND role <> 'system') FROM sessions s"
)
_ENTRIES = f"SELECT {ENTRY_COLUMNS} FROM messages m WHERE m.session = ?"
_PATH = f"""
WITH RECURSIVE path(id) AS (
    VALUES(?) UNION ALL
    SELECT m.parent FROM messages m JOIN path ON m.id = path.id WHERE m.parent < m.id
)
SELECT {ENTRY_COLUMNS} FROM messages m JOIN path ON m.id = path.id WHERE m.session = ?
"""
_SHOWN = 5
"""So many sessions are named where several could be meant."""
_QUOTED = 100
"""So many characters of what was looked for are said."""


class History:
    """The sessions in one file. Use it as a context manager, or `close` it.

    Nothing is opened before it is needed, and no file is made before the first message is written.
    Threads take turns; other processes may write to the same file. Every method raises
    `HistoryError` where the file cannot be opened, read or written to, and says what to do.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = database.default_path() if path is None else path
        self.wait = database.WAIT
        """Seconds to wait for others who write."""
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path | None = None) -> History:
        """The history at `path`, by default this user's, found sound where it is there already."""
        history = cls(path)
        with history.reading():
            return history

    def close(self) -> None:
        """Close the file. A later use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, to read; None where there is no history yet."""
        with self._lock, database.telling(self.path):
            yield self._connect(create=False)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction; the file is made where there is none."""
        with self._lock, database.telling(self.path):
            connection = self._connect(create=True)
            assert connection is not None
            with database.transaction(connection, self.wait):
                yield connection

    def _connect(self, create: bool) -> sqlite3.Connection | None:
        if self._connection is not None and self._identity() != self._opened:
            self.close()  # somebody has moved the file away, or put another in its place
        if self._connection is None:
            self._connection = database.open_file(self.path, create=create)
            self._opened = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def begin(self, trio: str, models: Mapping[str, str], name: str | None = None) -> Saved:
        """A new session with a trio, whose models have these sha256 by role.

        It is in the history once a message is. Raises `UsageError` for a name that cannot be one or
        is another session's.
        """
        if name is not None:
            name = check_name(name)
            with self.reading() as connection:
                if connection is not None:
                    _check_free(connection, name, None)
        return Saved(self, trio, models, name)

    def resume(self, session: SessionInfo) -> Saved:
        """A session of this history, to go on writing to."""
        return Saved(self, session.trio, session.models, session.name, session.id)

    def sessions(self, limit: int | None = None, trio: str | None = None) -> list[SessionInfo]:
        """The sessions, of one trio or all, the latest changed first, at most `limit`."""
        return self._sessions(
            "WHERE ? IS NULL OR s.trio = ? ORDER BY s.changed DESC, s.rowid DESC LIMIT ?",
            trio,
            trio,
            -1 if limit is None else limit,
        )

    def count(self) -> int:
        """How many sessions there are."""
        with self.reading() as connection:
            if connection is None:
                return 0
            return int(self._rows(connection, "SELECT COUNT(*) FROM sessions")[0][0])

    def latest(self, trio: str | None = None) -> SessionInfo | None:
        """The session that was changed last, of a trio or at all; None where there is none."""
        return next(iter(self.sessions(1, trio)), None)

    def named(self, name: str) -> SessionInfo | None:
        """The session of just this name, or with this id; None where there is none."""
        with contextlib.suppress(UsageError):
            name = check_name(name)
            found = self._sessions("WHERE s.name = ? OR s.id = ? LIMIT 1", name, name)
            return found[0] if found else None
        return None

    def find(self, text: str) -> SessionInfo:
        """The session with this name, with this id, or the only one whose name or id begins so.

        Raises `HistoryError` where there is none, or several begin so.
        """
        exact = self.named(text)
        if exact is not None:
            return exact
        shown = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
        found: list[SessionInfo] = []
        with contextlib.suppress(UsageError):
            name = check_name(text)
            found = self._sessions(
                "WHERE substr(s.id, 1, ?) = ? OR substr(s.name, 1, ?) = ? "
                "ORDER BY s.changed DESC LIMIT ?",
                *(len(name), name) * 2,
                _SHOWN + 1,
            )
        if len(found) == 1:
            return found[0]
        if not found:
            raise HistoryError(
                f"there is no session {shown!r}; edgeproxy sessions ls tells which there are"
            )
        names = ", ".join(f"{each.id} ({each.label})" for each in found[:_SHOWN])
        more = ", ..." if len(found) > _SHOWN else ""
        raise HistoryError(f"several sessions begin with {shown!r}: {names}{more}; give more of it")

    def load(self, session: str) -> Loaded:
        """The session with this id and the branch in use. Raises `HistoryError` without one."""
        with self.reading() as connection:
            info = self._info(connection, session)
            assert connection is not None
            with self._telling_of(session):
                rows = self._rows(connection, _PATH, info.head, session)
                loaded = Loaded(info, path_to(info.head, map(entry_of, rows)))
                loaded.messages  # noqa: B018 - what can be no conversation is told here
                return loaded

    def tree(self, session: str) -> tuple[SessionInfo, list[Entry]]:
        """The session with this id and all its messages, as they came. Raises as `load`."""
        with self.reading() as connection:
            info = self._info(connection, session)
            assert connection is not None
            with self._telling_of(session):
                rows = self._rows(connection, f"{_ENTRIES} ORDER BY m.id", session)
                return info, list(map(entry_of, rows))

    def search(self, words: str, limit: int | None = None) -> list[Hit]:
        """The messages that hold all of `words`, or words that begin with them, the newest first.

        Case and accents make no difference. `words` are no syntax. Raises `UsageError` for none.
        """
        return searching.search(self, words, limit)

    def rename(self, session: str, name: str | None) -> None:
        """Call the session with this id `name`, or nothing.

        Raises `UsageError` for a name that cannot be one or is another session's.
        """
        name = None if name is None else check_name(name)
        with self.writing() as connection:
            if name is not None:
                _check_free(connection, name, session)
            done = connection.execute("UPDATE sessions SET name = ? WHERE id = ?", (name, session))
            if not done.rowcount:
                raise _removed(session)

    def remove(self, session: str) -> None:
        """Remove the session with this id and every word of it from the file."""
        with self.writing() as connection:
            searching.forget(connection, session)
            connection.execute("DELETE FROM messages WHERE session = ?", (session,))
            if not connection.execute("DELETE FROM sessions WHERE id = ?", (session,)).rowcount:
                raise _removed(session)
        with self.reading() as open_one, contextlib.suppress(sqlite3.Error):
            if open_one is not None:
                open_one.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nor in the log

    def infos(self, ids: list[str]) -> dict[str, SessionInfo]:
        """The sessions with these ids, by id."""
        marks = ", ".join("?" * len(ids))
        return {s.id: s for s in self._sessions(f"WHERE s.id IN ({marks})", *ids)}

    @contextlib.contextmanager
    def _telling_of(self, session: str) -> Iterator[None]:
        """Raise `HistoryError` where the messages of one session are none."""
        try:
            yield
        except Damaged as error:
            raise HistoryError(
                f"{self.path}: the session {session} is damaged ({error}); the others are not "
                f"harmed, and this removes it: edgeproxy sessions rm {session}"
            ) from None

    def _info(self, connection: sqlite3.Connection | None, session: str) -> SessionInfo:
        found = []
        if connection is not None:
            found = self._rows(connection, f"{_SESSIONS} WHERE s.id = ?", session)
        if not found:
            raise _removed(session)
        return session_of(found[0])

    def _sessions(self, condition: str, *values: object) -> list[SessionInfo]:
        with self.reading() as connection:
            if connection is None:
                return []
            return list(
                map(session_of, self._rows(connection, f"{_SESSIONS} {condition}", *values))
            )

    def _rows(
        self, connection: sqlite3.Connection, asked: str, *values: object
    ) -> list[tuple[Any, ...]]:
        return database.rows(connection, asked, values, self.wait)


class Saved:
    """One session of a history, to be written to, a row at a time.

    Each call is a transaction of its own: what it wrote is on the disk when it returns. Raises
    `HistoryError` as `History` does, and `RemovedError` where somebody has removed the session.
    """

    def __init__(
        self,
        history: History,
        trio: str,
        models: Mapping[str, str],
        name: str | None,
        session: str | None = None,
    ) -> None:
        self.history = history
        self.trio = trio
        self.models = models
        self.name = name
        self.id = session
        """None before the first message."""

    def add(self, said: Sequence[Said], parent: int | None) -> list[int]:
        """Keep messages, each behind the one before it; their ids.

        The first comes behind the message with the id `parent`, or begins. The conversation goes on
        from the last. A session's first message of a user gives the title.
        """
        session = self.id
        with self.history.writing() as connection:
            if session is None:
                session = self._begin(connection, said[0].created)
            numbers = []
            for each in said:
                parent = _insert(connection, session, parent, each)
                numbers.append(parent)
            _move(connection, session, parent, said[-1].created)
            texts = [each.text for each in said if each.role == "user"]
            if texts:
                connection.execute(
                    "UPDATE sessions SET title = ? WHERE id = ? AND title = ''",
                    (title_of(texts[0]), session),
                )
        self.id = session
        return numbers

    def point(self, message: int | None) -> None:
        """Have the conversation go on from the message with this id; None from its beginning."""
        if self.id is not None:
            with self.history.writing() as connection:
                _move(connection, self.id, message, now())

    def _begin(self, connection: sqlite3.Connection, created: int) -> str:
        """A row for this session; its id."""
        if self.name is not None:
            _check_free(connection, self.name, None)
        while True:
            session = new_id()
            taken = "SELECT 1 FROM sessions WHERE id = ? OR name = ?"
            if not connection.execute(taken, (session, session)).fetchone():
                break
        connection.execute(
            "INSERT INTO sessions(id, name, title, trio, models, version, created, changed) "
            "VALUES(?, ?, '', ?, ?, ?, ?, ?)",
            (
                session,
                self.name,
                self.trio,
                to_json({role: str(sha256) for role, sha256 in self.models.items()}),
                __version__,
                created,
                created,
            ),
        )
        return session


def _insert(connection: sqlite3.Connection, session: str, parent: int | None, said: Said) -> int:
    number = connection.execute(
        "INSERT INTO messages(session, parent, role, text, settings, finish_reason, stats, "
        "created) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session,
            parent,
            said.role,
            to_column(said.text),
            to_json(said.settings),
            said.finish_reason,
            to_json(said.stats),
            said.created,
        ),
    ).lastrowid
    assert number is not None
    return number


def _move(connection: sqlite3.Connection, session: str, head: int | None, time: int) -> None:
    done = connection.execute(
        "UPDATE sessions SET head = ?, changed = max(changed, ?) WHERE id = ?",
        (head, time, session),
    )
    if not done.rowcount:
        raise _removed(session)


def _check_free(connection: sqlite3.Connection, name: str, session: str | None) -> None:
    """Raise `UsageError` where `name` is the name or the id of a session other than this."""
    other = "SELECT id FROM sessions WHERE (name = ? OR id = ?) AND id IS NOT ?"
    row = connection.execute(other, (name, name, session)).fetchone()
    if row is not None:
        raise UsageError(
            f"there is a session called {name!r} already ({row[0]}); choose another name, or "
            f"remove it: edgeproxy sessions rm {row[0]}"
        )


def _removed(session: str) -> RemovedError:
    return RemovedError(f"the session {session} is not in the history; it may have been removed")
