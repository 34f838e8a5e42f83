"""Files opened, hashed and replaced with care.

Only regular files are opened, a hash is of every byte, and a file that takes another's place does
so in one step.

May touch: the files that it is given, and a temporary one in the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
"""How many bytes are read at once."""

PARTS = ".edgeproxy-*.part"
"""What `replacing` has under way, or a kill amid it has left."""

ByteProgress = Callable[[str, int, int], None]
"""Called with what is under way, and how many of how many bytes are done. It may raise to stop."""

# A FIFO would block an ordinary open for ever; Windows has neither flag nor such FIFOs.
_SAFE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

_EVERYBODY, _OWNER = 0o666, 0o600


class NotRegularError(OSError):
    """What is at a path is no regular file; `kind` says what it is, such as "a directory"."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind} and no regular file", str(path))
        self.kind = kind


def open_regular(path: Path, *, follow: bool = True) -> FileIO:
    """Open the regular file at `path` to read; without `follow` a symbolic link is refused.

    Raises `NotRegularError`, any other `OSError`, and `ValueError` for what cannot be a path.
    """
    # Opening some devices has effects, so look before and, for a race, after.
    _check_regular(path, path.stat() if follow else path.lstat())
    flags = _SAFE if follow else _SAFE | _NO_LINK
    file = FileIO(path, opener=lambda name, wanted: os.open(name, wanted | flags))
    try:
        _check_regular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(path, _kind(status.st_mode))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISFIFO(mode):
        return "a FIFO (a named pipe)"
    return "a device or a socket"


def own_folder(variable: str, usual: Callable[..., Path]) -> Path | None:
    """A folder of this user's: the one that an environment variable names, else the `usual` one.

    `usual` is a function of platformdirs'. None where this user has no home folder, as some
    containers' have none. Nothing is created.
    """
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen)
    try:
        found = usual("edgeproxy", appauthor=False)
    except RuntimeError:
        return None
    return found if found.is_absolute() else None  # older ones leave a ~ where they know no better


def reason(error: Exception) -> str:
    """What an error of the system's says, without its number and the path."""
    return getattr(error, "strerror", None) or str(error)


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of the regular file at `path`, in order. Raises `OSError`."""
    with open_regular(path) as file:
        while block := file.read(CHUNK):
            yield block


def hash_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The sha256 of the regular file at `path`, in hexadecimal digits.

    `progress` is called with how many bytes have been read so far. Raises `OSError`.
    """
    digest, done = hashlib.sha256(), 0
    for block in blocks(path):
        digest.update(block)
        done += len(block)
        if progress:
            progress(done)
    return digest.hexdigest()


def write_new(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a new file that lasts through a power cut; `private` ones are for their owner alone.

    Raises `OSError`, `FileExistsError` where something is at `path` already.
    """
    path.touch(_OWNER if private else _EVERYBODY, exist_ok=False)
    with path.open("wb") as file:
        file.write(data)
        _sync(file)


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A new file in the folder of `path` that takes its place in one step when this ends.

    `Path(file.name)` is where it is meanwhile. Left by an exception, nothing has changed. A
    `private` file is for its owner alone. Raises `OSError`.
    """
    part = path.with_name(PARTS.replace("*", secrets.token_hex(8)))
    part.touch(_OWNER if private else _EVERYBODY, exist_ok=False)
    try:
        with part.open("wb") as file:
            yield file
            _sync(file)
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` last through a power cut, where the platform can."""
    if os.name == "nt":
        return  # NTFS keeps a journal of names, and opens no folders
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
