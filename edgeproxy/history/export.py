"""A session for other programs and for people: its tree as JSON, its conversation as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from edgeproxy.history.records import Entry, Loaded, SessionInfo

FORMAT, FORMAT_VERSION = "edgeproxy session", 1
"""What the JSON says it is."""

_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}
NOTES = {
    "cancelled": "stopped here",
    "length": "cut off at the limit of tokens",
    "context": "cut off where the context was full",
}
"""What is said of a reply that was cut short, by its finish reason."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def when(milliseconds: int) -> str:
    """A kept time in UTC, as ISO 8601 says it."""
    seconds, rest = divmod(milliseconds, 1000)
    moment = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session_as_json(session: SessionInfo) -> dict[str, Any]:
    """A session without its messages, as an object."""
    return {
        "id": session.id,
        "name": session.name,
        "title": session.title,
        "trio": session.trio,
        "models": dict(session.models),
        "edgeproxy": session.version,
        "created": when(session.created),
        "changed": when(session.changed),
        "message_count": session.messages,
    }


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """A message, as an object; `parent` is the id of the one before it."""
    said = entry.said
    return {
        "id": entry.id,
        "parent": entry.parent,
        "role": said.role,
        "text": said.text,
        "finish_reason": said.finish_reason,
        "settings": dict(said.settings),
        "stats": dict(said.stats),
        "created": when(said.created),
    }


def tree_as_json(session: SessionInfo, entries: Sequence[Entry]) -> dict[str, Any]:
    """A session with all its branches; `head` is the id of the message that it goes on from."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        **session_as_json(session),
        "head": session.head,
        "messages": [entry_as_json(entry) for entry in entries],
    }


def json_bytes(content: object) -> bytes:
    """`content` as a file of JSON; half of a surrogate pair in it is escaped."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def markdown(loaded: Loaded) -> str:
    """The branch in use, a heading for each message."""
    return "".join(_markdown(loaded))


def _markdown(loaded: Loaded) -> Iterator[str]:
    session = loaded.session
    yield f"# {' '.join(session.label.split())}\n\n"
    yield f"{session.trio}, {when(session.created)[:10]}, edgeproxy {session.version}\n"
    for entry in loaded.entries:
        said = entry.said
        yield f"\n## {_SPEAKERS[said.role]}\n\n{_closed(said.text.strip(chr(10)))}\n"
        if said.finish_reason in NOTES:
            yield f"\n*({NOTES[said.finish_reason]})*\n"


def _closed(text: str) -> str:
    """`text` with its last code block closed, lest it go on through the messages that follow."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if found is None:
            continue
        if not fence:
            fence = found[1]
        elif found[1].startswith(fence) and not found[2].strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text
