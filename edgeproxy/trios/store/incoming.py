"""A model file on its way into the store: it survives a kill, and is checked as it comes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from edgeproxy.errors import StoreError
from edgeproxy.files import CHUNK, sync_folder
from edgeproxy.trios import disk


class Incoming:
    """What has come of one file so far; made by `Store.incoming`.

    One process at a time has it. Bytes are appended in order, hashed as they come, and kept when
    the process ends, however that happens: whoever opens it next goes on after `have` bytes.
    """

    def __init__(
        self,
        part: Path,
        blob: Path,
        size: int,
        aside: Path,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """`part` is hashed as far as it is there; `progress` gets how many bytes have been."""
        self.size = size
        self._part, self._blob, self._aside = part, blob, aside
        self.have = 0
        self._digest = hashlib.sha256()
        self._file: FileIO | None = None
        self.complete = disk.regular_size(blob) == size
        if self.complete:
            self.have = size
            return
        # Not "a+b": where writes go must be where reading has ended.
        handle = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._file = FileIO(handle, "r+b")
        try:
            self._hash_what_is_there(progress)
            disk.check_space(part.parent, size - self.have)
        except BaseException:
            self.close()
            raise

    def _hash_what_is_there(self, progress: Callable[[int], None] | None) -> None:
        buffer = memoryview(bytearray(CHUNK))
        while count := self._open.readinto(buffer):
            self._digest.update(buffer[:count])
            self.have += count
            if progress:
                progress(self.have)
        if self.have > self.size:
            self.restart()

    @property
    def _open(self) -> FileIO:
        if self._file is None:
            raise StoreError(f"{self._blob.name}: this file has been received already")
        return self._file

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`.

        Raises `StoreError` for more bytes than the file should have, which puts it aside as
        `commit` does, and for a full disk; what came before is kept then.
        """
        file, rest = self._open, memoryview(chunk).cast("B")
        if self.have + len(rest) > self.size:
            self._refuse(f"more than the {self.size:,} bytes came that it should have")
        with disk.telling(self._part):
            while rest:
                written = file.write(rest) or 0
                self._digest.update(rest[:written])
                self.have += written
                rest = rest[written:]

    def restart(self) -> None:
        """Forget what has come."""
        with disk.telling(self._part):
            self._open.truncate(0)
            self._open.seek(0)
        self.have, self._digest = 0, hashlib.sha256()

    def commit(self) -> None:
        """Check size and hash, and make it a file of the store's.

        Raises `StoreError`: for one that is not whole, which stays for the next try; for a wrong
        one, which is put aside (the message says where), so that the next try begins anew.
        """
        if self.complete:
            return
        if self.have < self.size:
            raise StoreError(
                f"{self._blob.name}: {self.have:,} of {self.size:,} bytes have come; do it again "
                "to get the rest"
            )
        if self._digest.hexdigest() != self._blob.name:
            self._refuse(f"what came is another file, with sha256 {self._digest.hexdigest()}")
        with disk.telling(self._part):
            os.fsync(self._open.fileno())
            self.close()
            self._part.chmod(stat.S_IREAD | stat.S_IRGRP | stat.S_IROTH)
            disk.make_folders(self._blob.parent)
            if os.name == "nt":
                disk.remove_file(self._blob)  # a damaged one there is read-only
            self._part.replace(self._blob)
            sync_folder(self._blob.parent)
        self.complete = True

    def _refuse(self, what: str) -> None:
        self.close()
        with disk.telling(self._aside):
            disk.make_folders(self._aside.parent)
            self._part.replace(self._aside)
        raise StoreError(
            f"{self._blob.name}: {what}; it was put aside as {self._aside}, so do it again, or get "
            "it from elsewhere"
        )

    def close(self) -> None:
        """Let go of the file; what has come stays. A second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
