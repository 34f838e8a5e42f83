"""Examples of how replies should be, read from a user's file.

May touch: the file of examples, read-only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.prompts.messages import Message
from edgeproxy.tune.layouts import Layout, choose_layout
from edgeproxy.tune.records import Columns, Records, open_records

WRONG_SHOWN = 5
"""How many wrong lines are kept to be shown."""

SKIP_BAD = "pass over such lines with --skip-bad"

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Example:
    """One conversation; its last message is an assistant's.

    `line`: where in its file it begins, from 1.
    """

    messages: tuple[Message, ...]
    line: int

    @property
    def question(self) -> str:
        """What the user says first."""
        return next(message.content for message in self.messages if message.role == "user")

    def digest(self) -> bytes:
        """Names the conversation: equal for the same messages, wherever they stand."""
        said = [(message.role, message.content) for message in self.messages]
        data = json.dumps(said, ensure_ascii=True).encode("ascii")
        return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class ExamplesFile:
    """The examples of a file, one after another as they are read; no text is kept.

    The file holds lines of JSON or one JSON array, or CSV where its name ends in .csv or .tsv; for
    what a line may hold see `layouts`. `columns` names those of the question and the answer.
    Blank lines are passed over, and so is an example that was there before.

    A wrong line is a `UsageError` that names it; with `skip_bad` it is counted and passed over.
    `progress` is called with the share of the file that has been read, 0 to 1, and may raise; with
    `cancel` set, `Cancelled` is raised. The counts are of the last reading, as far as it came.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        columns: Columns | None = None,
        skip_bad: bool = False,
        progress: Callable[[float], None] | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.path = Path(path)
        self._columns, self._skip_bad = columns, skip_bad
        self._progress, self._cancel = progress, cancel
        self._begin()

    def _begin(self) -> None:
        self._layout: Layout | None = None
        self._kind = ""
        self.n_examples = 0
        """Examples that were given, duplicates not among them."""
        self.n_wrong = 0
        self.n_duplicates = 0
        self.wrong: list[str] = []
        """What was wrong with the first few of the wrong lines, each with its file and number."""

    @property
    def layout(self) -> str | None:
        """What the file holds, such as "JSON lines of question and answer"; None before it is seen.

        The first sound line decides.
        """
        return None if self._layout is None else f"{self._kind} of {self._layout.name}"

    def __iter__(self) -> Iterator[Example]:
        """Read the file from its beginning.

        Raises `UsageError` for a file that cannot be read, a wrong line, and a file without an
        example.
        """
        self._begin()
        seen: set[bytes] = set()
        try:
            with open_records(self.path, self._columns) as records:
                self._kind = records.kind
                for example in self._examples(records):
                    digest = example.digest()
                    if digest in seen:
                        self.n_duplicates += 1
                        continue
                    seen.add(digest)
                    self.n_examples += 1
                    yield example
        except OSError as error:
            raise UsageError(
                f"{self.path}: {error.strerror or error}; give a file of examples"
            ) from None
        if self.n_examples == 0:
            why = f"; the first wrong line: {self.wrong[0]}" if self.wrong else ""
            raise UsageError(f"{self.path}: there is no example in this file{why}")
        self._report(1.0)

    def _examples(self, records: Records) -> Iterator[Example]:
        """All sound ones."""
        for record in records:
            if self._cancel is not None and self._cancel.is_set():
                raise Cancelled(f"reading {self.path} was cancelled")
            self._report(records.share)
            try:
                fields = record.fields()
                layout = choose_layout(fields, self._layout, self._columns)
                messages = layout.conversation(fields)
            except UsageError as error:
                self.pass_over(record.line, str(error))
                continue
            self._layout = layout
            yield Example(messages, record.line)

    def pass_over(self, line: int, what: str) -> None:
        """Count a wrong line. Raises `UsageError` naming it unless wrong ones are passed over."""
        where = f"{self.path}:{line}: {what}"
        if not self._skip_bad:
            raise UsageError(f"{where}; {SKIP_BAD}")
        self.n_wrong += 1
        if len(self.wrong) < WRONG_SHOWN:
            self.wrong.append(where)

    def _report(self, share: float) -> None:
        if self._progress is not None:
            self._progress(share)
