"""The SQLite file of an index: opened, checked, made, and what goes wrong with it in plain words.

An index is kept with a rollback journal, so that it is one file by itself, which can be read in a
folder where nothing may be written. While it is written to it has a write-ahead log instead: people
go on searching it meanwhile. Either is sound again after a kill at any moment, and after a power
cut; nothing that SQLite does for that is turned off.

May touch: the file of the index, and those that SQLite and the lock keep beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edgeproxy.documents.schema import APPLICATION_ID, TABLES, VERSION
from edgeproxy.errors import DocumentError
from edgeproxy.files import NotRegularError, open_regular, reason
from edgeproxy.trios.disk import make_folders, try_lock

BESIDE = ("-journal", "-wal", "-shm", ".lock")
"""What follows the name of an index in those of the files beside it."""

WAIT = 10.0
"""Seconds to wait for somebody who is changing the index at this moment."""

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_VERSION_AT, _APPLICATION_AT, _WAL_AT = 60, 68, 19
_WAL = 2
_CACHE_KIB = 32 << 10
"""Memory for pages of an index that is written to."""


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Raise `DocumentError` for what SQLite says inside about the index at `path`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise DocumentError(f"{path}: {_in_words(error, path)}") from None
    except (UnicodeDecodeError, OverflowError) as error:
        raise DocumentError(f"{path}: {_damaged(path, error)}") from None


def _in_words(error: sqlite3.DatabaseError, path: Path) -> str:
    said = str(error)
    if "no such module" in said:
        return (
            "the SQLite of this Python has no full-text search (FTS5); use a Python whose SQLite "
            "has it, as those of python.org, Debian, Homebrew and conda do"
        )
    if "is full" in said:
        return "the disk is full; free some space and do it again (what was done is kept)"
    if "locked" in said:
        return "somebody else is using this index; try again when they are done"
    if "readonly" in said or "read-only" in said:
        return "this index cannot be written to; check its permissions and those of its folder"
    if "unable to open" in said:
        return "it cannot be opened; check its permissions and those of its folder"
    if "disk I/O error" in said:
        return "the disk fails, or is full; free some space and do it again (what was done is kept)"
    if said == "interrupted":
        return "interrupted"
    return _damaged(path, error)


def _damaged(path: Path, why: object) -> str:
    return (
        f"this index is damaged ({why}); remove it and index the folders again: "
        f"edgeproxy index rm {path}"
    )


def damaged(path: Path, why: object) -> DocumentError:
    """What to raise where the index at `path` holds what no index does."""
    return DocumentError(f"{path}: {_damaged(path, why)}")


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock of the index at `path`, whose folder is made.

    Raises `DocumentError` at once where somebody else has it, or there can be none.
    """
    try:
        make_folders(path.parent)
        held = try_lock(path.with_name(f"{path.name}.lock"))
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"{path}: {reason(error)}; check its permissions, or choose another place for it"
        ) from None
    if held is None:
        raise DocumentError(
            f"{path}: somebody else is writing to this index at this moment; try again when they "
            "are done"
        )
    try:
        yield
    finally:
        held.release()


def may_be_index(path: Path) -> bool:
    """Whether the file at `path` is an index, of whatever version, or is empty."""
    try:
        with open_regular(path) as file:
            header = file.read(_HEADER) or b""
    except (OSError, ValueError):
        return False
    return not header or (
        len(header) == _HEADER and _number(header, _APPLICATION_AT) == APPLICATION_ID
    )


def open_to_read(path: Path) -> sqlite3.Connection:
    """The index at `path`, to read. Nothing is written, but while somebody else writes to it.

    Raises `DocumentError` where there is none, it is none, or it is of a newer edgeproxy.
    """
    header = _header(path)
    if not header:
        raise DocumentError(f"{path}: there is nothing in this index yet; index folders into it")
    how, can_write = "mode=ro", os.access(path.parent, os.W_OK)
    is_wal = header[_WAL_AT] == _WAL
    is_cut_short = _size(path.with_name(f"{path.name}-journal")) > 0
    if not can_write and (is_cut_short or (is_wal and _size(path.with_name(f"{path.name}-wal")))):
        raise DocumentError(
            f"{path}: indexing was cut short, and what it left cannot be completed in a folder "
            "that is read-only; copy the index, with the files beside it, to another one"
        )
    if is_cut_short:
        how = "mode=rw"  # the first look takes back what was written by half
    elif is_wal and not can_write:
        # A log needs a file beside it that cannot be made here; without a log it needs none.
        how += "&immutable=1"
    connection = _connect(path, how)
    with telling(path):
        connection.execute("PRAGMA query_only = ON")
    return connection


@contextlib.contextmanager
def held_to_write(path: Path) -> Iterator[sqlite3.Connection]:
    """The index at `path`, opened to write while nobody else may, and closed at the end.

    Raises `DocumentError`, also for what SQLite says inside.
    """
    with holding(path), telling(path):
        connection = open_to_write(path)
        try:
            yield connection
        finally:
            close_written(connection)


def open_to_write(path: Path) -> sqlite3.Connection:
    """The index at `path`, to write, in a write-ahead log; it is made where there is none.

    The folder must be there, and the caller holds the index's lock. Raises `DocumentError`.
    """
    if path.exists():
        _header(path)
    connection = _connect(path, "mode=rwc")
    try:
        with telling(path):
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                _make(connection)
            with contextlib.suppress(sqlite3.OperationalError):
                # Somebody who reads for long keeps it from changing; then it goes without.
                connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


def close_written(connection: sqlite3.Connection) -> None:
    """Close what `open_to_write` opened; the index is one file again unless somebody reads it."""
    try:
        with contextlib.suppress(sqlite3.DatabaseError):
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()


def _make(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {VERSION}; {TABLES} COMMIT;"
        )
    except sqlite3.DatabaseError:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path, how: str) -> sqlite3.Connection:
    with telling(path):
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{how}",
                uri=True,
                timeout=WAIT,
                isolation_level=None,
                check_same_thread=False,  # a session's threads take turns
            )
        except ValueError as error:
            raise DocumentError(f"{path!r}: {error}; check the path") from None
        try:
            # What a stranger wrote into the schema of an index is not run.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def _header(path: Path) -> bytes:
    """The first bytes of the index at `path`, b"" where it is empty. Raises `DocumentError`."""
    try:
        with open_regular(path) as file:
            header = file.read(_HEADER) or b""
    except FileNotFoundError:
        raise DocumentError(f"{path}: there is no such index; check the path") from None
    except NotRegularError as error:
        raise DocumentError(f"{path}: it is {error.kind}, no index of documents") from None
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path}: {reason(error)}; check the path") from None
    if not header:
        return header
    application, version = (_number(header, at) for at in (_APPLICATION_AT, _VERSION_AT))
    if header[: len(_MAGIC)] != _MAGIC or len(header) < _HEADER or application != APPLICATION_ID:
        raise DocumentError(
            f"{path}: this is no index of documents, or its first bytes are damaged; give the "
            "index another name, or remove this file yourself"
        )
    if version > VERSION:
        raise DocumentError(
            f"{path}: this index is of a newer edgeproxy (its tables are of version {version}, "
            f"known here is {VERSION}); update edgeproxy, or remove the index and make it anew"
        )
    if version != VERSION:
        raise damaged(path, f"version {version}")
    return header


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
