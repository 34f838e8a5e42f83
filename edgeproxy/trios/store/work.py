"""What is under way: folders in tmp/, each with a lock that its process holds while it lives.

All of this happens under the store's own lock, so that nobody takes a folder up while another
removes it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.trios import disk
from edgeproxy.trios.store.naming import hashes_in

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK = "lock"
_HOLD, _BLOBS = "hold-", "blobs"


class Work:
    """A folder in tmp/ that this process holds, until `release`."""

    def __init__(self, folder: Path, lock: BaseFileLock) -> None:
        self.folder = folder
        self._lock = lock

    def release(self) -> None:
        """Let others take it up, or remove it."""
        self._lock.release()


def begin(tmp: Path, name: str) -> Work:
    """New work, in a folder whose name begins with `name`."""
    disk.make_folders(tmp)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tmp))
    lock = disk.try_lock(folder / _LOCK)
    assert lock is not None, "a new folder is nobody else's"
    return Work(folder, lock)


def take_up(tmp: Path, name: str) -> Work | None:
    """The work in the folder `name`, new or left by a process that ended; None while it is held."""
    folder = tmp / name
    disk.make_folders(folder)
    lock = disk.try_lock(folder / _LOCK)
    return Work(folder, lock) if lock else None


@contextlib.contextmanager
def working(tmp: Path, name: str) -> Iterator[Path]:
    """A folder to work in, for as long as the store's lock is held; removed at the end."""
    work = begin(tmp, name)
    try:
        yield work.folder
    finally:
        work.release()
        disk.remove_tree(work.folder)


def hold(tmp: Path, sha256s: Iterable[str]) -> Work:
    """Work that is nothing but to need these blobs."""
    work = begin(tmp, _HOLD.rstrip("-"))
    (work.folder / _BLOBS).write_text("\n".join(sha256s), "ascii")
    return work


def held_blobs(tmp: Path) -> set[str]:
    """The blobs that living processes need, or are receiving."""
    found: set[str] = set()
    for folder in filter(_is_held, _entries(tmp)):
        found |= hashes_in(folder.name.encode())
        if folder.name.startswith(_HOLD):
            with contextlib.suppress(FileNotFoundError):
                found |= hashes_in((folder / _BLOBS).read_bytes())
    return found


def leftovers(tmp: Path) -> list[Path]:
    """What no process holds."""
    return [path for path in _entries(tmp) if not _is_held(path)]


def discard(path: Path) -> None:
    """Remove what is in tmp/, unless a process holds it."""
    if not _is_held(path):
        if path.is_dir() and not path.is_symlink():
            disk.remove_tree(path)
        else:
            disk.remove_file(path)


def _entries(tmp: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(tmp.iterdir())
    return []


def _is_held(folder: Path) -> bool:
    path = folder / _LOCK
    if not path.is_file():
        return False
    lock = disk.try_lock(path)
    if lock is None:
        return True
    lock.release()
    return False
