"""What the home folder needs of a disk: locks, folders that last, free space."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.errors import StoreError
from edgeproxy.files import sync_folder
from edgeproxy.units import in_units

if TYPE_CHECKING:
    from filelock import BaseFileLock

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def telling(what: object) -> Iterator[None]:
    """Raise `StoreError` for an `OSError` inside, naming the file, or else `what`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or what}: {reason(error)}") from None


def reason(error: OSError) -> str:
    """What the system says, and what to do where that is known."""
    if error.errno in _FULL:
        return "the disk is full; free some space and do it again (nothing installed was harmed)"
    if isinstance(error, PermissionError):
        return f"{error.strerror}; check its permissions, or name another folder as EDGEPROXY_HOME"
    return error.strerror or str(error)


def lock(path: Path) -> BaseFileLock:
    """A lock between processes, and threads, in the file at `path`. Killed holders let go."""
    from filelock import FileLock  # not needed by those who only read

    return FileLock(path, thread_local=False)


def try_lock(path: Path) -> BaseFileLock | None:
    """The lock at `path`, taken; None where somebody holds it."""
    from filelock import Timeout

    taken = lock(path)
    try:
        taken.acquire(timeout=0)
    except Timeout:
        return None
    return taken


def make_folders(folder: Path) -> None:
    """Create `folder` and its parents, lastingly. Raises `OSError`."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def remove_file(path: Path) -> None:
    """Remove a file, also a read-only one; nothing where it is gone already."""
    with contextlib.suppress(FileNotFoundError):
        if os.name == "nt":
            path.chmod(stat.S_IWRITE)  # Windows removes no read-only file
        path.unlink()


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, as far as the system lets us."""
    for path in folder.rglob("*") if os.name == "nt" else ():
        with contextlib.suppress(OSError):
            path.chmod(stat.S_IWRITE)
    shutil.rmtree(folder, ignore_errors=True)


def tree_size(path: Path) -> int:
    """The bytes of the regular files at and below `path`."""
    total = 0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            status = each.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def regular_size(path: Path) -> int | None:
    """The size of the regular file at `path`; None where there is none. Raises `OSError`."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def check_space(folder: Path, needed: int) -> None:
    """Raise `StoreError` where the disk of `folder`, which may not exist yet, lacks the room."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with telling(there):
        free = shutil.disk_usage(there).free
    if free < needed:
        raise StoreError(
            f"{folder}: not enough disk space: {in_units(needed)} are needed and {in_units(free)} "
            "are free; free some, or name a folder on another disk as EDGEPROXY_HOME"
        )
