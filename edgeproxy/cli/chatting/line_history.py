"""The lines that a person typed in chats before, for the line editor to find again.

May touch: one file in edgeproxy's data folder, which is for its owner alone. A folder that cannot
be written loses nothing but this.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from edgeproxy.core.utf8 import check_unicode
from edgeproxy.errors import PromptError
from edgeproxy.files import open_regular, replacing
from edgeproxy.trios.home import home

NAME = "chat-lines.jsonl"
"""A text in JSON for each line, the newest one last."""

_MOST_BYTES = 1 << 20
"""A longer file is cut to its newest half."""

_MOST_OF_ONE = 16 << 10
"""A longer message, such as a pasted file, is not kept."""


class LineHistory:
    """The lines of earlier chats and of this one. Several chats may write at once."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def newest_first(self) -> Iterator[str]:
        """Those that were kept; damaged ones are left out."""
        for line in reversed(self._read().splitlines()):
            with contextlib.suppress(ValueError, RecursionError):
                text = json.loads(line)
                if isinstance(text, str):
                    yield text

    def add(self, text: str) -> None:
        """Keep a line, where that is possible."""
        if self._path is None or not text.strip() or len(text) > _MOST_OF_ONE:
            return
        with contextlib.suppress(OSError, ValueError, PromptError):
            check_unicode(text, "the line")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._cut()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            handle = os.open(self._path, flags, 0o600)
            try:
                # In one call, so that two chats do not write into each other's lines.
                os.write(handle, f"{json.dumps(text)}\n".encode())
            finally:
                os.close(handle)

    def _read(self) -> str:
        if self._path is None:
            return ""
        try:
            with open_regular(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _MOST_BYTES))
                return file.read().decode("utf-8", "replace")
        except (OSError, ValueError):
            return ""

    def _cut(self) -> None:
        """Keep the newest half of a file that has grown too long."""
        path = self._path
        if path is None or not path.is_file() or path.stat().st_size <= _MOST_BYTES:
            return
        newest = self._read()[-_MOST_BYTES // 2 :].partition("\n")[2]
        with replacing(path, private=True) as file:
            file.write(newest.encode())


def line_history() -> LineHistory:
    """That of this user, in the data folder; one that keeps nothing where there is none."""
    folder = home()
    return LineHistory(None if folder is None else folder / NAME)
