"""Folders and files that a person named -> the files to read, in order.

Hidden ones are passed over, and folders that programs keep for themselves. A symbolic link that a
person names is followed. One inside of a folder is not: what it leads to is found where it lies, or
lies outside, and such links are counted.

May touch: the folders, read only; no file is opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled
from edgeproxy.files import reason

PASSED_OVER = frozenset({"node_modules", "__pycache__"})
"""Folders that hold no documents of a person's; so are those whose name begins with a dot."""

_LOOK = 100
"""After so many entries of a folder it is looked whether to stop."""


class Found(NamedTuple):
    """A regular file, and its size and modification time when it was seen."""

    path: Path
    size: int
    mtime_ns: int


@dataclass
class Walk:
    """One walk through `roots`: iterate over it for the files, then read what it has met.

    A file that several roots lead to is given once for each; `leave_out` are paths to pass over.
    `unread` has folders, files and roots that could not be looked at, with the reason; `outside`
    counts links that lead out of their root, `special` FIFOs, devices and sockets. Setting `cancel`
    ends it with `Cancelled`.
    """

    roots: Iterable[Path]
    leave_out: frozenset[Path] = frozenset()
    cancel: Cancel | None = None
    unread: dict[Path, str] = field(default_factory=dict)
    outside: int = 0
    special: int = 0

    def __iter__(self) -> Iterator[Found]:
        for root in self.roots:
            try:
                status = root.stat()
            except (OSError, ValueError) as error:
                self.unread[root] = reason(error)
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._folders(root, status)
            elif stat.S_ISREG(status.st_mode):
                yield Found(root, status.st_size, status.st_mtime_ns)
            else:
                self.special += 1

    def _folders(self, root: Path, status: os.stat_result) -> Iterator[Found]:
        """The files below `root`, depth first, each folder's by their names."""
        real_root = os.path.realpath(root)
        # Mounts can make loops, too; Windows before Python 3.12 may know no such numbers.
        seen = {(status.st_dev, status.st_ino)}
        stack = [root]
        while stack:
            folder = stack.pop()
            folders = []
            for entry in self._entries(folder):
                path = folder / entry.name
                try:
                    if entry.is_symlink():
                        self.outside += not _is_within(os.path.realpath(path), real_root)
                        continue
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder and entry.name in PASSED_OVER:
                        continue
                    status = path.lstat() if is_folder else entry.stat(follow_symlinks=False)
                except OSError as error:
                    self.unread[path] = reason(error)
                    continue
                if is_folder:
                    key = status.st_dev, status.st_ino
                    if key not in seen or not status.st_ino:
                        seen.add(key)
                        folders.append(path)
                elif not stat.S_ISREG(status.st_mode):
                    self.special += 1
                elif path not in self.leave_out:
                    yield Found(path, status.st_size, status.st_mtime_ns)
            stack += reversed(folders)

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """What is in `folder` and not hidden, by name."""
        try:
            with os.scandir(folder) as entries:
                found = sorted((e for e in entries if e.name[:1] != "."), key=lambda e: e.name)
        except OSError as error:
            self.unread[folder] = reason(error)
            return
        for number, entry in enumerate(found):
            if number % _LOOK == 0 and self.cancel is not None and self.cancel.is_set():
                raise Cancelled("interrupted")
            yield entry


def absolute(path: Path) -> Path:
    """`path` from the root on, without "..": so is a root kept. Raises `OSError`, `ValueError`."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
