"""Sessions as a person reads them in a list, for the verb `sessions` and for a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeproxy.history.records import Hit, SessionInfo

HEAD = ("id", "changed", "trio", "messages", "name, or what it began with")
SPEAKERS = {"system": "system", "user": "you", "assistant": "reply"}


def row_of(session: SessionInfo) -> tuple[str, ...]:
    """A session as a row below `HEAD`."""
    return (
        session.id,
        day(session.changed),
        session.trio,
        f"{session.messages:,}",
        session.label,
    )


def heading_of(hit: Hit) -> str:
    """The line above a message that was found."""
    return f"{hit.session.id}  {day(hit.entry.said.created)}  {hit.session.label}"


def day(milliseconds: int) -> str:
    """A kept time as this machine's clock had it."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(milliseconds // 1000).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):  # later than this machine can tell
        return "?"
