"""Folders -> an index of what is in them: only what came, changed or went is worked on.

A file that has the size and the modification time that it had is not opened; one that has the same
bytes is not read again. A document's rows are replaced in one transaction, and many small documents
share one, so that an index is sound after a kill at any moment, and the next run completes it.

May touch: the files and folders that it is given, read only; the index and what is beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.documents.database import BESIDE, held_to_write
from edgeproxy.documents.index import UNSETTLED, read_setting, read_sizing
from edgeproxy.documents.kinds import NOT_READ, Reading, kind_of, open_document
from edgeproxy.documents.passage import Block
from edgeproxy.documents.passages import MAX_SIZE, MIN_SIZE, SIZE, Cut, Sizing, passages
from edgeproxy.documents.sizes import Count, calibrate
from edgeproxy.documents.walk import Walk, absolute
from edgeproxy.documents.writing import Row, Writer
from edgeproxy.errors import Cancelled, DocumentError, UnreadableError, UsageError
from edgeproxy.files import ByteProgress, hash_file, reason

Reader = Callable[[Path, Cancel | None], contextlib.AbstractContextManager[Reading]]
"""Opens a document, as `open_document` does."""

TRANSACTION = 1.5
"""A transaction of small documents ends after so many seconds."""

LARGE = 4_000_000
"""A document of so many characters has a transaction of its own, and is not held in memory."""

RECENT = 2_000_000_000
"""Nanoseconds: a file that changed just before it was read may change unseen in the same tick."""

_SAMPLE_FILES, _SAMPLE_BLOCKS, _SAMPLE = 24, 200, 100_000
_LOOK = 1 << 16
"""After so many characters progress is told."""


@dataclass
class Report:
    """What a run has done: documents that are `new`, `changed`, `gone`, and the `same` as before.

    `problems` are files and folders that could not be read, and why. `unsettled` changed while they
    were read. `left_out` says of documents what parts of them were left out, and why. `others` are
    files of kinds that are not read, as pictures. `outside` counts links that lead out of a folder,
    `special` FIFOs and devices.
    """

    new: int = 0
    changed: int = 0
    gone: int = 0
    same: int = 0
    problems: dict[Path, str] = field(default_factory=dict)
    unsettled: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)
    others: int = 0
    outside: int = 0
    special: int = 0
    passages: int = 0
    read: int = 0
    """Bytes of the documents that were read."""


class _UnreadableError(Exception):
    """A document cannot be read; why."""


def index_documents(
    path: Path,
    roots: Sequence[Path],
    *,
    size: int | None = None,
    count: Count | None = None,
    counted_by: str = "",
    reader: Reader = open_document,
    progress: ByteProgress | None = None,
    cancel: Cancel | None = None,
) -> Report:
    """Bring the index at `path` up to date with its roots and these `roots`, which it keeps.

    `size` is in tokens, as `count` counts them, which is named `counted_by`; the index keeps both,
    and whatever changes one of them makes all documents be read again. Setting `cancel`, or what
    `progress` raises, ends it with what was done kept. Raises `UsageError`, `DocumentError` and
    `Cancelled`.
    """
    if size is not None and not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(f"a passage of {size} tokens: give {MIN_SIZE} to {MAX_SIZE}")
    given = [_there(root) for root in roots]
    with held_to_write(path) as connection:
        run = _Run(path, connection, reader, progress, cancel or Flag())
        try:
            run.choose_roots(given)
            run.look()
            run.choose_size(size, count, counted_by)
            run.work()
        except BaseException:
            run.keep()
            raise
        return run.report


class _Run:
    """One run of indexing, with the index's lock held."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        reader: Reader,
        progress: ByteProgress | None,
        cancel: Cancel,
    ) -> None:
        self._path = path
        self._connection = connection
        self._reader = reader
        self._progress = progress
        self._cancel = cancel
        self._writer = Writer(connection)
        self._sizing = Sizing()
        self._began = 0.0
        self._total = self._done = self._amid = 0
        self._what = ""
        self.report = Report()

    def keep(self) -> None:
        """Keep what is done, drop what is half done."""
        try:
            if self._writer.is_amid:
                self._writer.rollback()
            else:
                self._writer.commit()
        except sqlite3.DatabaseError:
            # What ended the run is what is told of.
            with contextlib.suppress(sqlite3.DatabaseError):
                self._writer.rollback()

    def choose_roots(self, given: Sequence[Path]) -> None:
        """Add roots to those of the index. Raises `UsageError` where there is none at all."""
        kept = self._connection.execute("SELECT path FROM roots ORDER BY path").fetchall()
        roots = [Path(os.fsdecode(path)) for (path,) in kept]
        roots += [root for root in given if root not in roots]
        if not roots:
            raise UsageError("name the folders to index: edgeproxy index FOLDER... -o NAME")
        self._roots = roots
        self._writer.begin()
        self._connection.executemany(
            "INSERT OR IGNORE INTO roots VALUES(?)", [(os.fsencode(root),) for root in roots]
        )
        self._writer.commit()

    def look(self) -> None:
        """Walk through the roots, and note what files there are."""
        self._connection.execute(
            "CREATE TEMP TABLE seen(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER)"
            " WITHOUT ROWID"
        )
        own = frozenset(self._path.with_name(self._path.name + end) for end in ("", *BESIDE))
        walk = Walk(self._roots, leave_out=own, cancel=self._cancel)
        self._tell("looking for files")
        self._connection.executemany(
            "INSERT OR IGNORE INTO seen VALUES(?, ?, ?)",
            ((os.fsencode(p), size, mtime_ns) for p, size, mtime_ns in walk if self._may_be(p)),
        )
        self.report.outside, self.report.special = walk.outside, walk.special
        self.report.problems |= walk.unread
        self._unread = [os.fsencode(path) for path in walk.unread]

    def _may_be(self, path: Path) -> bool:
        """Whether a file may be a document, by its name; one that cannot is counted."""
        is_other = path.suffix.lower() in NOT_READ
        self.report.others += is_other
        return not is_other

    def choose_size(self, size: int | None, count: Count | None, counted_by: str) -> None:
        """Settle how large passages are: as before, or as is asked now."""
        before = read_sizing(self._connection, self._path)
        is_new = read_setting(self._connection, "size") is None
        ratios, by = before.ratios, read_setting(self._connection, "counted_by") or ""
        if count is not None and (is_new or by != counted_by):
            ratios, by = calibrate(self._sample(), count), counted_by
        self._sizing = Sizing(size or (SIZE if is_new else before.size), ratios)
        if not is_new and self._sizing == before:
            return
        self._writer.begin()
        # From now on no document counts as read, so that a kill amid this is no harm either.
        self._connection.execute("UPDATE documents SET mtime_ns = ?, sha256 = x''", [UNSETTLED])
        self._writer.set("size", str(self._sizing.size))
        self._writer.set("ratios", f"{ratios.latin} {ratios.dense} {ratios.other}")
        self._writer.set("counted_by", by)
        self._writer.commit()

    def work(self) -> None:
        """Remove what is gone, read what is new or changed, count the common words."""
        self._remove_gone()
        self._connection.execute(
            "CREATE TEMP TABLE work AS SELECT seen.path, documents.id AS id FROM seen"
            " LEFT JOIN documents ON documents.path = seen.path WHERE documents.id IS NULL"
            " OR documents.size != seen.size OR documents.mtime_ns != seen.mtime_ns"
            " OR documents.problem IS NOT NULL ORDER BY seen.path"
        )
        one = "SELECT (SELECT count(*) FROM seen), (SELECT count(*) FROM work), (SELECT"
        one += " ifnull(sum(size), 0) FROM seen WHERE path IN (SELECT path FROM work))"
        seen, to_read, self._total = self._connection.execute(one).fetchone()
        self.report.same = seen - to_read
        for path, is_new in self._to_read():
            self._file(path, is_new)
            if time.monotonic() - self._began > TRANSACTION:
                self._writer.commit()
        self._writer.commit()
        self._tell("counting words")
        try:
            self._writer.count_common(self._cancel.is_set)
        except sqlite3.OperationalError:
            if self._cancel.is_set():
                raise Cancelled("interrupted") from None
            raise
        asked = "SELECT count(*) FROM passages"
        [self.report.passages] = self._connection.execute(asked).fetchone()

    def _to_read(self) -> Iterator[tuple[Path, bool]]:
        last = 0
        asked = "SELECT rowid, path, id FROM work WHERE rowid > ? ORDER BY rowid LIMIT 500"
        while rows := self._connection.execute(asked, [last]).fetchall():
            for last, path, document in rows:  # noqa: B007 - where the next rows begin
                yield Path(os.fsdecode(path)), document is None

    def _remove_gone(self) -> None:
        asked = "SELECT id, path FROM documents WHERE path NOT IN (SELECT path FROM seen)"
        for document, path in self._connection.execute(asked).fetchall():
            if any(path == one or path.startswith(_below(one)) for one in self._unread):
                continue  # what cannot be looked at may still be there
            self._start()
            self._writer.remove(document, lambda: self._tell("removing what is gone"))
            self.report.gone += 1
            self._tell("removing what is gone")
            if time.monotonic() - self._began > TRANSACTION:
                self._writer.commit()
        self._writer.commit()

    def _file(self, path: Path, is_new: bool) -> None:
        """Read one file, and replace what is kept of it."""
        self._what, self._amid = f"reading {path.name}", 0
        self._tell_bytes()
        size = 0
        try:
            size, mtime_ns = _state(path)
            if kind_of(path) is None:
                self._pass_over(path, is_new)
                self._done += size
                return
            sha256 = bytes.fromhex(hash_file(path, lambda _: self._tell_bytes()))
            is_recent = time.time_ns() - mtime_ns < RECENT
            row = Row(os.fsencode(path), size, UNSETTLED if is_recent else mtime_ns, sha256, "", "")
            if not is_new and self._is_known(row):
                self.report.same += 1
            else:
                self._read(path, row, (size, mtime_ns))
                self.report.read += size
                self.report.new += is_new
                self.report.changed += not is_new
        except (_UnreadableError, OSError, ValueError) as error:
            why = str(error) if isinstance(error, _UnreadableError) else reason(error)
            if self._writer.is_amid:
                self._writer.rollback()
            self._start()
            bare = Row(os.fsencode(path), size, UNSETTLED, b"", "", "", why)
            self._writer.replace(bare, ())
            self.report.problems[path] = why
        self._done += size

    def _pass_over(self, path: Path, is_new: bool) -> None:
        """Count a file that is no document; one that has been one before is gone."""
        self.report.others += 1
        if is_new:
            return
        asked = "SELECT id FROM documents WHERE path = ?"
        [document] = self._connection.execute(asked, [os.fsencode(path)]).fetchone()
        self._start()
        self._writer.remove(document)
        self.report.gone += 1

    def _is_known(self, row: Row) -> bool:
        """Whether a document has the same bytes as before; then its time is noted."""
        asked = "SELECT kind, encoding FROM documents"
        asked += " WHERE path = ? AND sha256 = ? AND problem IS NULL"
        before = self._connection.execute(asked, [row.path, row.sha256]).fetchone()
        if before is None:
            return False
        self._start()
        self._writer.note(row._replace(kind=before[0], encoding=before[1]))
        return True

    def _read(self, path: Path, row: Row, before: tuple[int, int]) -> None:
        with contextlib.ExitStack() as stack:
            with _unreadable():
                opened = stack.enter_context(self._reader(path, self._cancel))
                row = row._replace(kind=opened.kind.name, encoding=opened.encoding)
                cuts = passages(self._watched(opened.blocks), self._sizing)
                held, length = _first(cuts)
            if length > LARGE:
                self._writer.commit()  # so that nothing else is lost with it
            self._start()
            self._writer.replace(row, _both(held, cuts), self._tell_bytes)
            if opened.problems:
                self.report.left_out[path] = "; ".join(opened.problems)
        if _state(path) != before:
            self._writer.note(row._replace(mtime_ns=UNSETTLED, sha256=b""))
            self.report.unsettled.append(path)
        if length > LARGE:
            self._writer.commit()

    def _watched(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks, while progress is told."""
        told = 0
        for block in blocks:
            self._amid += len(block.text)
            if self._amid - told > _LOOK:
                told = self._amid
                self._tell_bytes()
            yield block

    def _sample(self) -> Iterator[str]:
        """Texts of some of the files, to calibrate with."""
        [seen] = self._connection.execute("SELECT count(*) FROM seen").fetchone()
        length = 0
        for number in range(0, seen, max(seen // _SAMPLE_FILES, 1)):
            asked = "SELECT path FROM seen ORDER BY path LIMIT 1 OFFSET ?"
            [path] = self._connection.execute(asked, [number]).fetchone()
            self._tell("counting tokens")
            texts: list[str] = []
            reader = self._reader(Path(os.fsdecode(path)), self._cancel)
            with contextlib.suppress(_UnreadableError), _unreadable(), reader as opened:
                texts += (block.text for block in islice(opened.blocks, _SAMPLE_BLOCKS))
            yield from texts
            length += sum(map(len, texts))
            if length > _SAMPLE:
                return

    def _start(self) -> None:
        """Begin a transaction unless one is under way."""
        if not self._connection.in_transaction:
            self._writer.begin()
            self._began = time.monotonic()

    def _tell(self, what: str) -> None:
        if self._cancel.is_set():
            raise Cancelled("interrupted")
        if self._progress:
            self._progress(what, self._done, self._total)

    def _tell_bytes(self) -> None:
        if self._cancel.is_set():
            raise Cancelled("interrupted")
        if self._progress:
            self._progress(self._what, min(self._done + self._amid, self._total), self._total)


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
    """Raise `_UnreadableError` for what a reader raises about the document that it reads."""
    try:
        yield
    except UnreadableError as error:
        raise _UnreadableError(error.what) from None
    except DocumentError as error:
        raise _UnreadableError(str(error)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _UnreadableError(reason(error)) from None


def _first(cuts: Iterator[Cut]) -> tuple[list[Cut], int]:
    """All passages of a document, or those of a large one's beginning, and their characters."""
    held: list[Cut] = []
    length = 0
    for cut in cuts:
        held.append(cut)
        length += len(cut.text)
        if length > LARGE:
            break
    return held, length


def _both(held: list[Cut], more: Iterator[Cut]) -> Iterator[Cut]:
    yield from held
    held.clear()
    with _unreadable():
        yield from more


def _there(root: Path) -> Path:
    """A root from the top on. Raises `DocumentError` where there is nothing."""
    try:
        found = absolute(root)
        found.stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise DocumentError(f"{root}: {reason(error)}; check the path") from None
    return found


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _below(folder: bytes) -> bytes:
    separator = os.fsencode(os.sep)
    return folder.rstrip(separator) + separator
