"""Replies as JSON lines, each kept as soon as it came: the same command goes on from them.

The file's first line says what the replies are of; a line that a kill has cut off is made anew.

May touch: the file, and its folder, which is made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.files import reason
from edgeproxy.measure.reply_lines import as_line, whole_lines

Key = tuple[str, str]
"""A system, and the text of a question that it was asked."""


class Lines:
    """The lines at `path`, of the `run` that they are of; `known` are those that are there.

    Raises `UsageError` for the lines of another run, and for a file of something else.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[Key, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(run))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
            rows, size = whole_lines(data, self._foreign)
            if rows:
                self._take_up(rows, wanted)
            elif data and not data.startswith(b'{"run"'[: len(data)]):
                raise self._foreign(1)
            if size < len(data):
                os.truncate(path, size)
            self._file = path.open("ab")
            if not rows:
                self._write({"run": wanted})
        except OSError as error:
            raise UsageError(f"{path}: {reason(error)}; name another folder with --out") from None

    def _take_up(self, rows: list[dict[str, Any]], wanted: Mapping[str, Any]) -> None:
        was = rows[0].get("run")
        if not isinstance(was, dict):
            raise self._foreign(1)
        other = ", ".join(k for k in sorted({*was, *wanted}) if was.get(k) != wanted.get(k))
        if other:
            raise UsageError(
                f"{self.path} has replies that were asked for otherwise (other {other}); give the "
                "same again, or another folder with --out"
            )
        for number, line in enumerate(rows[1:], start=2):
            system, question = line.get("system"), line.get("question")
            if not isinstance(system, str) or not isinstance(question, str):
                raise self._foreign(number)
            self.known[system, question] = line

    def _foreign(self, number: int) -> UsageError:
        return UsageError(
            f"{self.path}:{number}: this is no line of replies; name another folder with --out"
        )

    def add(self, line: dict[str, Any]) -> None:
        """Keep a line, of a "system" and a "question". Raises `EdgeproxyError`."""
        try:
            self._write(line)
        except OSError as error:
            raise EdgeproxyError(f"{self.path}: {reason(error)}; free some space") from None
        self.known[line["system"], line["question"]] = line

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(as_line(line))
        self._file.flush()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
