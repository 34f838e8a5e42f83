"""Model files of this user's that stay where they lie, known by their sha256.

    known-files.json    in the home folder: path, size, mtime_ns and sha256 of each

A file counts as the one that was hashed for as long as it has that size and that modification time.
A manifest that gives a sha256 can reach, beside what lies in its own folder, only these files and
those of the store.

May touch: the list; the files that it is given, read only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, ModelFileError, StoreError
from edgeproxy.files import ByteProgress, hash_file, open_regular, reason, replacing
from edgeproxy.trios import disk
from edgeproxy.trios.home import BLOBS, LOCK, home

LIST = "known-files.json"
MAX_BYTES = 16 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when it was hashed; `mtime_ns` is its modification time."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str

    @property
    def is_unchanged(self) -> bool:
        """Whether the file at the path is still that one, by its size and time."""
        try:
            return _state(self.path) == (self.size, self.mtime_ns)
        except (OSError, ValueError):
            return False


class KnownFiles:
    """The list in the home folder `root`, which defaults to `home()`.

    Nothing is created until a file is added. Any number of processes may use one at once.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root if root is not None else home()

    def add(
        self,
        path: str | Path,
        progress: ByteProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        """Note the file at `path`; its sha256, for which it is read once.

        A file that is noted and unchanged is not read again. Setting `cancel` stops the reading
        with `Cancelled`. Raises `ModelFileError` for a file that cannot be read or changes
        meanwhile, `StoreError` where the list cannot be read or written.
        """
        if self._root is None:
            raise StoreError(
                "there is no folder to note files in: this user has no home folder; name a "
                "folder as EDGEPROXY_HOME"
            )
        path = Path(path).absolute()  # a link keeps its name, by which people know the file
        for known in self._read():
            if known.path == path and known.is_unchanged:
                return known.sha256
        found = _hashed(path, progress, cancel)
        self._change(without=path, add=found)
        return found.sha256

    def find(self, sha256: str, size: int | None = None) -> Path | None:
        """Where a file with that hash (and size) is: in the store, or a noted one, unchanged.

        None where there is none; a list that cannot be read counts as empty (see `problem`).
        """
        if self._root is None or not _SHA256.fullmatch(sha256):
            return None
        blob = self._root / BLOBS / sha256
        try:
            there = disk.regular_size(blob)
        except OSError:
            there = None
        if there is not None and size in (None, there):
            return blob
        for known in self.noted(sha256):
            if size in (None, known.size) and known.is_unchanged:
                return known.path
        return None

    def noted(self, sha256: str) -> list[KnownFile]:
        """The files that were noted with that hash, be they still there or not."""
        try:
            return [known for known in self._read() if known.sha256 == sha256]
        except StoreError:
            return []

    def holds(self, path: Path) -> bool:
        """Whether the file at `path` was noted."""
        try:
            return any(known.path == path for known in self._read())
        except StoreError:
            return False

    def forget(self, path: Path) -> None:
        """Strike the file at `path` from the list; the file stays. Raises `StoreError`."""
        self._change(without=path)

    @property
    def problem(self) -> str | None:
        """What is wrong with the list, and what to do; None where it can be read."""
        try:
            self._read()
        except StoreError as error:
            return str(error)
        return None

    def _read(self) -> list[KnownFile]:
        if self._root is None:
            return []
        path = self._root / LIST
        try:
            with open_regular(path) as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{path}: {reason(error)}; check its permissions") from None
        try:
            if len(data) > MAX_BYTES:
                raise ValueError("it is too large")
            return [_known_file(row) for row in json.loads(data)]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise StoreError(
                f"{path}: this list of known files is damaged; remove it, and note the files "
                "again: edgeproxy add FILE"
            ) from None

    def _change(self, without: Path, add: KnownFile | None = None) -> None:
        assert self._root is not None, "whoever has noted a file has a home folder"
        with disk.telling(self._root):
            disk.make_folders(self._root)
            with disk.lock(self._root / LOCK):
                rows = [known for known in self._read() if known.path != without]
                rows += [add] if add else []
                written = [asdict(known) | {"path": str(known.path)} for known in rows]
                with replacing(self._root / LIST) as file:
                    file.write(json.dumps(written, indent=1).encode("ascii"))


def _known_file(row: Mapping[str, Any]) -> KnownFile:
    """A row of the list. Raises `ValueError`, `TypeError` or `KeyError` for a damaged one."""
    path, sha256, size, mtime_ns = (row[key] for key in ("path", "sha256", "size", "mtime_ns"))
    if type(size) is not int or type(mtime_ns) is not int or not _SHA256.fullmatch(sha256):
        raise ValueError(row)
    if not Path(path).is_absolute():
        raise ValueError(path)
    return KnownFile(Path(path), size, mtime_ns, sha256)


def _hashed(path: Path, progress: ByteProgress | None, cancel: Cancel | None) -> KnownFile:
    def heard(done: int) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled(f"{path}: reading it was cancelled")
        if progress:
            progress(f"hashing {path.name}", done, size)

    try:
        size, mtime_ns = before = _state(path)
        sha256 = hash_file(path, heard)
        after = _state(path)
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"it cannot be read ({reason(error)}); check the path") from None
    if after != before:
        raise ModelFileError(path, "it changed while it was read; add it once it is whole")
    return KnownFile(path, size, mtime_ns, sha256)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
