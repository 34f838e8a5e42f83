"""The SQLite file of a history: opened, checked, made, and what goes wrong with it in plain words.

It has a write-ahead log, so that several chats may write and others read at once, and a message is
on the disk before the next one begins: a kill, or a power cut, takes nothing that was kept.

May touch: the file of the history, those that SQLite keeps beside it, and their folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgeproxy.errors import HistoryError
from edgeproxy.files import NotRegularError, open_regular, reason
from edgeproxy.history.records import Damaged
from edgeproxy.history.schema import APPLICATION_ID, TABLES, VERSION
from edgeproxy.trios.home import home

FOLDER, FILE = "history", "sessions.sqlite"
"""Where the history is in the home folder."""

WAIT = 10.0
"""Seconds to wait for somebody who writes at this moment."""

_STEP = 0.1
"""Seconds that SQLite waits by itself, in which Ctrl-C is not heard."""
_PAUSE = 0.02
"""Seconds at most between two tries."""

_MAGIC = b"SQLite format 3\0"
_OWNER, _OWNERS_FOLDER = 0o600, 0o700

T = TypeVar("T")


def default_path() -> Path:
    """Where this user's history is. Raises `HistoryError` where there is no home folder."""
    root = home()
    if root is None:
        raise HistoryError(
            "there is no folder for conversations: this user has no home folder; name a folder as "
            "EDGEPROXY_HOME"
        )
    return root.absolute() / FOLDER / FILE


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Raise `HistoryError` for what goes wrong inside with the history at `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise HistoryError(f"{path}: {_in_words(error, path)}") from None
    except (Damaged, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: {_damaged(path, error)}") from None
    except OverflowError:
        raise HistoryError(f"{path}: {_TOO_LARGE}") from None
    except OSError as error:
        raise HistoryError(f"{path}: {reason(error)}; {_PERMISSIONS}") from None


_PERMISSIONS = (
    "check its permissions and those of its folder, or name another folder as EDGEPROXY_HOME"
)
_FULL = "the disk is full; free some space (what was kept before is not harmed)"
_TOO_LARGE = "a message is larger than SQLite can keep"


def _in_words(error: sqlite3.Error, path: Path) -> str:
    said = str(error)
    if "is full" in said:
        return _FULL
    if "locked" in said:
        return "somebody else has been writing to this history for long; try again when they end"
    if "readonly" in said or "read-only" in said:
        return f"it cannot be written to; {_PERMISSIONS}"
    if "unable to open" in said:
        return f"it cannot be opened; {_PERMISSIONS}"
    if "disk I/O error" in said:
        return f"the disk fails, or {_FULL}"
    if "too big" in said:
        return _TOO_LARGE
    if said == "interrupted":
        return said
    return _damaged(path, error)


def _damaged(path: Path, why: object) -> str:
    return (
        f"this history is damaged ({why}); move the file away, with those beside it, and the next "
        f"chat begins a new one (sqlite3 {path.name} .recover gets out what can still be read)"
    )


def is_locked(error: sqlite3.Error) -> bool:
    """Whether somebody else has what was asked for, so that a later try may do."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def patiently(work: Callable[[], T], wait: float = WAIT) -> T:
    """What `work` gives, tried again while somebody else writes, for `wait` seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= end:
                raise
            time.sleep(random.uniform(0, _PAUSE))  # lest all who wait try again together


def rows(
    connection: sqlite3.Connection, asked: str, values: Sequence[object] = (), wait: float = WAIT
) -> list[tuple[Any, ...]]:
    """All rows of a question, waited for as `patiently` does."""
    return patiently(lambda: connection.execute(asked, values).fetchall(), wait)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, wait: float = WAIT) -> Iterator[None]:
    """All that is written inside, or nothing; nobody else writes meanwhile. Raises as SQLite."""
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"), wait)
    try:
        yield
        patiently(lambda: connection.execute("COMMIT"), wait)
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def open_file(path: Path, *, create: bool) -> sqlite3.Connection | None:
    """The history at `path`; where there is none it is made, or None without `create`.

    In a folder where nothing may be written it can be read. Raises `HistoryError` for what is no
    history, is of a newer edgeproxy, is damaged, or cannot be opened.
    """
    with telling(path):
        if create:
            _make_file(path)
        try:
            with open_regular(path) as file:
                beginning = file.read(len(_MAGIC)) or b""
        except FileNotFoundError:
            return None
        except NotRegularError as error:
            raise HistoryError(f"{path}: it is {error.kind}, no history; move it away") from None
        except ValueError as error:
            raise HistoryError(f"{str(path)!r}: {error}; check the path") from None
        is_cut_short = _size(path.with_name(f"{path.name}-journal"))  # SQLite puts it right
        if beginning not in (b"", _MAGIC) and not is_cut_short:
            raise HistoryError(
                f"{path}: this is no history of conversations, or its first bytes are damaged; "
                "move it away, and the next chat begins a new one"
            )
        connection = _connect(path)
        try:
            if patiently(lambda: _prepare(connection, path, create)):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    return None


def is_writable(path: Path) -> bool:
    """Whether the system lets this user write to a file at `path`, and beside it."""
    return os.access(path.parent, os.W_OK) and (os.access(path, os.W_OK) or not path.exists())


def _make_file(path: Path) -> None:
    """An empty file where none is, for its owner alone, as SQLite makes those beside it then."""
    if not path.exists():
        path.parent.mkdir(_OWNERS_FOLDER, parents=True, exist_ok=True)
        path.touch(_OWNER)


def _connect(path: Path) -> sqlite3.Connection:
    how = "mode=rw"
    if not is_writable(path):
        how = "mode=ro"
        if not _size(path.with_name(f"{path.name}-wal")):
            # A log needs a file beside it that cannot be made here; without a log it needs none.
            how += "&immutable=1"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=_STEP,
        isolation_level=None,
        check_same_thread=False,  # `History` lets one thread in at a time
    )
    try:
        # What a stranger wrote into the schema is not run.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is removed is gone from the file
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> bool:
    """Check what is in the file; where it is empty make the tables, or without `create` give False.

    A kill while a history was made leaves an empty file.
    """
    if _is_empty(connection) and create:
        # Before there is a log, so that a kill leaves an empty file or one that is marked as ours.
        with transaction(connection, 0.0):
            if _is_empty(connection):
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
    if _is_empty(connection):
        return False
    _check(connection, path)
    if is_writable(path):
        # Where a file system cannot have a log, the journal that SQLite begins with is sound too.
        # Several who ask for one at once keep each other from it; the next to open it asks again.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    return True


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `HistoryError` unless the file is a history of this version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise HistoryError(
            f"{path}: this is no history of conversations; move it away, and the next chat begins "
            "a new one"
        )
    if version > VERSION:
        raise HistoryError(
            f"{path}: this history is of a newer edgeproxy (its tables are of version {version}, "
            f"known here is {VERSION}); update edgeproxy, or name another folder as EDGEPROXY_HOME"
        )
    if version != VERSION:
        raise Damaged(f"version {version}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
