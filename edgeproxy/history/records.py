"""What a history holds, as data: sessions, messages, and how they become rows and come back."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from edgeproxy.errors import PromptError
from edgeproxy.prompts.messages import Message, RoleName

Content = Mapping[str, Any]
"""What is kept as a JSON object."""

NO_TITLE = "(no text)"
"""The title of a session whose first message has nothing that can be seen."""

LAST_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999, which no time of a message is later than."""

_DEEPEST = 20
"""Objects within objects in settings; what is deeper is kept as text."""
_BITS = 64


class Damaged(Exception):
    """A row holds what no history writes; says what."""


@dataclass(frozen=True)
class Said:
    """A message to be kept: who said it, how it was made, and what that took.

    `settings` and `stats` may hold whatever `plain` makes JSON of, such as a `Steering`, a
    `Sampling` or a `Turn`'s `Stats`. `finish_reason` is that of a reply, "cancelled" or "length"
    for one that was cut short. `created` is milliseconds since 1970, UTC.
    """

    role: RoleName
    text: str
    settings: Content = field(default_factory=dict)
    finish_reason: str | None = None
    stats: Content = field(default_factory=dict)
    created: int = field(default_factory=lambda: now())


@dataclass(frozen=True)
class Entry:
    """A kept message: its id and that of the message before it, None for one that begins."""

    id: int
    parent: int | None
    said: Said

    def message(self) -> Message:
        """It as a conversation has it. Raises `Damaged` where it can be none."""
        try:
            return Message(self.said.role, self.said.text)
        except PromptError as error:
            raise Damaged(str(error)) from None


@dataclass(frozen=True)
class SessionInfo:
    """A session without its messages.

    `name` is what a person has called it, `title` the beginning of its first message; `models` are
    the sha256 by role, `version` edgeproxy's when it was begun, `created` and `changed`
    milliseconds since 1970, UTC, `head` the id of the message that it goes on from, `messages` how
    many there are in all branches, system messages not counted.
    """

    id: str
    name: str | None
    title: str
    trio: str
    models: Mapping[str, str]
    version: str
    created: int
    changed: int
    head: int | None
    messages: int

    @property
    def label(self) -> str:
        """What a person knows it by: its name, or its title."""
        return self.name or self.title or NO_TITLE


@dataclass(frozen=True)
class Loaded:
    """A session with the branch in use: `entries` from its beginning to its head."""

    session: SessionInfo
    entries: tuple[Entry, ...]

    @property
    def messages(self) -> list[Message]:
        """What was said and answered, as a `Conversation` takes it.

        A last message that has no reply is not among them: see `unanswered`.
        """
        return [entry.message() for entry in self.answered]

    @property
    def answered(self) -> tuple[Entry, ...]:
        """`entries` without a last message that has no reply."""
        return self.entries[:-1] if self.unanswered is not None else self.entries

    @property
    def unanswered(self) -> str | None:
        """The last message where its reply is missing, as after a kill; else None."""
        last = self.entries[-1].said if self.entries else None
        return last.text if last is not None and last.role == "user" else None

    @property
    def settings(self) -> Content:
        """Those of the last message that has any."""
        return next((e.said.settings for e in reversed(self.entries) if e.said.settings), {})


@dataclass(frozen=True)
class Hit:
    """A message that was searched for: its session, the stretch around what was found, and where
    in it that is, as pairs of a beginning and an end."""

    session: SessionInfo
    entry: Entry
    excerpt: str
    spans: tuple[tuple[int, int], ...]


def now() -> int:
    """The time, as it is kept."""
    return int(time.time() * 1000)


def plain(value: object, depth: int = 0) -> Any:
    """`value` as JSON can say it: data classes and named tuples are objects, the rest is text.

    Numbers that JSON has not (NaN, infinities), or few can read (of over 64 bits), are text too.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            value = value._asdict()
        if isinstance(value, Mapping):
            return {str(key): plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
            return [plain(each, depth + 1) for each in value]
    return str(value)


def to_json(content: Content) -> str:
    """A JSON object of `content`; whatever is in it, this does not fail."""
    return json.dumps(plain(content), allow_nan=False)


def to_column(text: str) -> str | bytes:
    """`text` as SQLite can keep it; half of a surrogate pair makes it bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def from_column(column: object) -> str:
    """What `to_column` was given. Raises `Damaged`."""
    if isinstance(column, bytes):
        try:
            return column.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Damaged(f"a message is no text: {error.reason}") from None
    return _text(column)


SESSION_COLUMNS = "s.id, s.name, s.title, s.trio, s.models, s.version, s.created, s.changed, s.head"
ENTRY_COLUMNS = "m.id, m.parent, m.role, m.text, m.settings, m.finish_reason, m.stats, m.created"


def session_of(row: Sequence[object]) -> SessionInfo:
    """A session of `SESSION_COLUMNS` and a count of messages. Raises `Damaged`."""
    label, name, title, trio, models, version, created, changed, head, count = row
    return SessionInfo(
        _text(label),
        None if name is None else _text(name),
        _text(title),
        _text(trio),
        {str(role): _text(sha256) for role, sha256 in _object(models).items()},
        _text(version),
        _whole(created),
        _whole(changed),
        None if head is None else _whole(head),
        _whole(count),
    )


def entry_of(row: Sequence[object]) -> Entry:
    """A message of `ENTRY_COLUMNS`. Raises `Damaged`."""
    number, parent, role, text, settings, finish_reason, stats, created = row
    if role not in get_args(RoleName):
        raise Damaged(f"a message is {role!r}'s")
    said = Said(
        role,  # type: ignore[arg-type]
        from_column(text),
        _object(settings),
        None if finish_reason is None else _text(finish_reason),
        _object(stats),
        _whole(created),
    )
    entry = Entry(_whole(number), None if parent is None else _whole(parent), said)
    if entry.parent is not None and entry.parent >= entry.id:
        raise Damaged("a message comes before the one that it follows")
    return entry


def path_to(head: int | None, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries from a beginning to the one whose id is `head`. Raises `Damaged`."""
    by_id = {entry.id: entry for entry in entries}
    path: list[Entry] = []
    while head is not None:
        entry = by_id.get(head)
        if entry is None:
            raise Damaged(f"message {head} is missing")
        path.append(entry)
        head = entry.parent  # which is smaller, so this ends
    return tuple(reversed(path))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Damaged(f"{type(value).__name__} where text should be")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= LAST_TIME:
        raise Damaged("something else where a number should be")
    return value


def _object(value: object) -> dict[str, Any]:
    try:
        found = json.loads(_text(value))
    except (ValueError, RecursionError):
        raise Damaged("something else where JSON should be") from None
    if not isinstance(found, dict):
        raise Damaged("something else where a JSON object should be")
    return found
