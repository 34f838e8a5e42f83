"""What the models have read of long sessions, a file each, so that resuming one takes seconds.

    states = States()
    states.put_back(session, keeper.id)                 # after Keeper.resume, before the next reply
    states.keep(session, keeper.id, conversation.messages)   # when the chat ends

A file is large: the KV cache of three models, tens of kilobytes a token. So only long conversations
have one, all together stay within a budget, and those that nobody has used for longest go first. A
file that does not fit, of other models or of what was said otherwise, costs nothing but the reading
that it would have spared: nothing here raises for the sake of a disk.

May touch: the folder of these files, beside the history's. They hold the text that was read, as
tokens, and are for their owner alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.history.database import default_path

if TYPE_CHECKING:
    from edgeproxy.prompts.messages import Message
    from edgeproxy.session.session import Session

FOLDER, SUFFIX = "states", ".state"
"""The folder beside the history, and what the names in it end with."""

BUDGET = 2 * 10**9
"""Bytes of all files together."""

LEAST_TOKENS = 1000
"""Shorter conversations are read again: that takes about as long as reading the file."""

RESERVE = 2 * 10**9
"""Bytes that stay free on the disk."""

_OWNERS_FOLDER = 0o700
_ID = re.compile(r"[a-z0-9]{1,32}")

Progress = Callable[[str, float], None]
"""Called with what is under way and the share of it that is done, 0 to 1."""


class States:
    """The files of sessions, in `folder` within `budget` bytes. Raises as `default_path` does."""

    def __init__(self, folder: Path | None = None, budget: int = BUDGET) -> None:
        self.folder = default_path().parent / FOLDER if folder is None else folder
        self.budget = budget

    def path(self, session_id: str) -> Path:
        """The file of a session, there or not. Raises `UsageError` for what is no id."""
        if not _ID.fullmatch(session_id):
            raise UsageError(f"{session_id!r} is no session's id")
        return self.folder / f"{session_id}{SUFFIX}"

    def has(self, session_id: str) -> bool:
        """Whether there is a file; whether it fits is seen when it is put back."""
        return self.path(session_id).is_file()

    def put_back(self, session: Session, session_id: str, progress: Progress | None = None) -> int:
        """Have the models hold what the session's file keeps; how many tokens, 0 for none.

        Raises `BusyError` and `EngineError` as a reply does, but for nothing about the file.
        """
        path = self.path(session_id)
        if not path.is_file():
            return 0
        try:
            tokens = session.put_back(path, progress)
        except UsageError:  # one model alone, or no file of ours
            return 0
        with contextlib.suppress(OSError):
            os.utime(path)  # the latest to be used is the last to go
        return tokens

    def keep(
        self,
        session: Session,
        session_id: str,
        messages: Sequence[Message],
        progress: Progress | None = None,
    ) -> int:
        """Keep what the models have read of this conversation; how many tokens, 0 for none.

        None where it is short, where the file would not fit the budget or the disk, and where
        something fails. The models forget what they have read besides.
        """
        path = self.path(session_id)
        try:
            if not messages or session.trio.n_past < LEAST_TOKENS:
                return 0
            self.folder.mkdir(_OWNERS_FOLDER, parents=True, exist_ok=True)
            most = min(self.budget, shutil.disk_usage(self.folder).free - RESERVE)
            tokens = session.keep_read(list(messages), path, progress, most=most)
        except (OSError, EdgeproxyError):
            return 0
        self.tidy(path)
        return tokens

    def remove(self, session_id: str) -> None:
        """Remove a session's file, if there is one. Raises `OSError`."""
        self.path(session_id).unlink(missing_ok=True)

    def size(self) -> int:
        """The bytes of all files."""
        return sum(size for _, size, _ in self._files())

    def tidy(self, but: Path | None = None) -> None:
        """Remove the files that were not used for longest, until the rest is within the budget.

        The one at `but` stays.
        """
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.budget:
                return
            if path != but:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each file was used last, in nanoseconds, its bytes, and its path."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    status = path.stat()
                    if path.suffix == SUFFIX:
                        found.append((status.st_mtime_ns, status.st_size, path))
        return found
