"""One file from the hub into the store, whatever happens to the connection on the way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from edgeproxy.errors import HubError
from edgeproxy.trios.manifest import Source
from edgeproxy.trios.pull.hub import Hub, Remote, Trouble
from edgeproxy.trios.store import Incoming

TRIES = 8
"""So often in a row may an attempt bring nothing new."""

LONGEST_WAIT = 300.0
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Watch:
    """What is told of a pull while it lasts. This one tells nobody."""

    def moved(self, file: str, done: int, size: int) -> None:
        """`done` of `size` bytes of `file` are there."""

    def checking(self, file: str, done: int, size: int) -> None:
        """`done` of the bytes that an earlier pull has left of `file` have been hashed."""

    def waiting(self, file: str, why: str) -> None:
        """The pull waits, because of `why`."""

    def noted(self, what: str) -> None:
        """Something that a person should know."""

    def finished(self, file: str, size: int, where: str) -> None:
        """`file` is in the store; it came from `where`."""


Sleep = Callable[[float], None]
"""`time.sleep`, or what a test has in its place."""


class Patience:
    """Waits between attempts, and an end to them. Attempts that bring something are forgotten."""

    def __init__(self, file: str, watch: Watch, sleep: Sleep = time.sleep) -> None:
        self._file, self._watch, self._sleep = file, watch, sleep
        self._failures = 0
        self._most = -1

    def after(self, trouble: Trouble, have: int = 0) -> None:
        """Wait after an attempt that ended with `trouble` and `have` bytes.

        Raises `HubError` when it is time to give up.
        """
        self._failures = 1 if have > self._most >= 0 else self._failures + 1
        self._most = max(self._most, have)
        wait = trouble.wait
        if wait is None:
            wait = _WAITS[min(self._failures, len(_WAITS)) - 1]
        if self._failures >= TRIES or wait > LONGEST_WAIT:
            asked = f", and asks to wait {wait / 60:.0f} minutes" if wait > LONGEST_WAIT else ""
            raise HubError(
                f"{self._file}: {trouble}{asked}; the same command goes on from what is there, "
                "later"
            )
        while wait > 0:
            self._watch.waiting(
                self._file,
                f"{trouble}; trying again in {wait:.0f} s ({self._failures} of {TRIES - 1})",
            )
            self._sleep(min(wait, 0.25))
            wait -= 0.25


def look(hub: Hub, source: Source, watch: Watch, sleep: Sleep = time.sleep) -> Remote:
    """`hub.look`, with patience. Raises `HubError`."""
    patience = Patience(source.file, watch, sleep)
    while True:
        try:
            return hub.look(source)
        except Trouble as trouble:
            patience.after(trouble)


def fetch(
    hub: Hub,
    source: Source,
    sha256: str,
    into: Incoming,
    watch: Watch,
    sleep: Sleep = time.sleep,
) -> None:
    """Bring the bytes that `into` lacks, however often the connection is lost.

    Raises `HubError` where the hub refuses, has another file by now, or keeps failing; what has
    come stays in `into`. Checking the whole is left to `into.commit`.
    """
    patience = Patience(source.file, watch, sleep)
    etag: str | None = None
    while into.have < into.size:
        try:
            with hub.stream(source, into.have, etag) as answer:
                etag = _begin(answer, source, into)
                for chunk in answer.iter_raw():
                    into.write(chunk)
                    watch.moved(source.file, into.have, into.size)
            if into.have < into.size:
                raise Trouble("the connection ended early")
        except Trouble as trouble:
            patience.after(trouble, into.have)
            refuse_another(source, look(hub, source, watch, sleep), into.size, sha256)


def refuse_another(source: Source, found: Remote, size: int | None, sha256: str | None) -> None:
    """Raise `HubError` where the hub has another file than the one wanted, as far as known."""
    for what, has, wanted in (
        ("bytes", found.size, size),
        ("sha256", found.sha256, sha256),
    ):
        if has is not None and wanted is not None and has != wanted:
            raise HubError(
                f"{source.file}: the hub's file has {_said(what, has)}, and should have "
                f"{_said(what, wanted)}: it is another one, and was not fetched"
            )


def _said(what: str, value: object) -> str:
    return f"{value:,} bytes" if isinstance(value, int) else f"the {what} {value}"


def _begin(answer: Any, source: Source, into: Incoming) -> str | None:
    """Make `into` ready for what this answer brings; the answer's ETag, if it can be relied on.

    Raises `HubError` for an answer with other bytes than the ones asked for.
    """
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise HubError(f"{source.file}: the hub sends it compressed, which was not asked for")
    if answer.status_code == 200:
        if into.have:
            into.restart()
        announced = answer.headers.get("Content-Length", str(into.size))
    else:
        first, announced = _content_range(answer)
        if first != str(into.have):
            raise HubError(f"{source.file}: the hub sends another part of it than was asked for")
    if announced not in (str(into.size), "*"):
        raise HubError(
            f"{source.file}: the hub now sends a file of {announced[:20]} bytes instead of "
            f"{into.size:,}: it has changed, or what is between us and it has"
        )
    etag: str = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else None


def _content_range(answer: Any) -> tuple[str, str]:
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", answer.headers.get("Content-Range", ""))
    return (found[1], found[2]) if found else ("", "")
