"""The sessions of a history, for the page: listed, read, gone on with, removed.

SQLite is asked in threads, one after another, and never in the event loop. The file is open only
meanwhile, so that others can move it.

May touch: the history's file, those that SQLite keeps beside it, and the files of what models have
read of a session that is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgeproxy.errors import RemovedError, UsageError
from edgeproxy.history.export import session_as_json, tree_as_json
from edgeproxy.history.history import History, Saved
from edgeproxy.history.models import hashes
from edgeproxy.history.records import Entry, Said, SessionInfo, to_json
from edgeproxy.history.states import FOLDER, States
from edgeproxy.serve.kept.bodies import Save, check_order, read_save
from edgeproxy.serve.protocol import RefusedError
from edgeproxy.serve.threads import in_thread
from edgeproxy.trios.find import Recipe

MOST_LISTED = 200
"""So many sessions are listed, the latest changed first."""

MOST_WAITING = 32
"""So many requests may wait for the history."""

NOT_FOUND, UNAVAILABLE = 404, 503

Found = TypeVar("Found")


class Sessions:
    """What is asked of a history. `recipe` is the trio's that answers, `path` another history.

    Each method raises `RefusedError`, with 404 where there is no such session, and `HistoryError`
    where the file cannot be read or written to.
    """

    def __init__(self, recipe: Callable[[], Recipe], path: Path | None = None) -> None:
        self._recipe = recipe
        self._path = path
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def listed(self) -> dict[str, Any]:
        """The latest sessions, without their messages, and how many there are."""

        def work(history: History) -> dict[str, Any]:
            found = history.sessions(MOST_LISTED)
            data = [session_as_json(each) for each in found]
            total = len(found) if len(found) < MOST_LISTED else history.count()
            return {"object": "list", "data": data, "total": total}

        return await self._in_turn(work)

    async def one(self, session: str) -> dict[str, Any]:
        """A session with all its messages, as `edgeproxy sessions export` writes it."""
        return await self._in_turn(lambda history: tree_as_json(*history.tree(session)))

    async def save(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep messages: the session's id, and those of the messages; see `bodies.SAVE`."""
        save = await asyncio.to_thread(read_save, body)
        return await self._in_turn(lambda history: self._save(history, save))

    async def remove(self, session: str) -> dict[str, Any]:
        """Remove a session, and what was kept of its reading."""

        def work(history: History) -> dict[str, Any]:
            history.remove(session)
            # Its id is none of a file where somebody else has written it.
            with contextlib.suppress(OSError, UsageError):
                States(history.path.parent / FOLDER).remove(session)
            return {"id": session, "object": "edgeproxy.session.deleted", "deleted": True}

        return await self._in_turn(work)

    def _save(self, history: History, save: Save) -> dict[str, Any]:
        recipe, said, at = self._recipe(), save.said, save.parent
        if save.session is None:
            saved = history.begin(recipe.name, hashes(recipe))
            entries: list[Entry] = []
        else:
            info, entries = history.tree(save.session)
            saved = history.resume(info)
            said = tuple(_named(each, recipe, info) for each in said)
        if at is not None:
            before = next((entry.said.role for entry in entries if entry.id == at), None)
            if before is None:
                what = f"parent: the session has no message {at}"
                raise RefusedError(what, "parent", "message_not_found", NOT_FOUND)
            for first in said[:1]:
                check_order(before, first, "messages[0]")
        numbers: list[int] = []
        while said and (same := _same(entries, at, said[0])) is not None:
            at = same.id
            numbers.append(at)
            said = said[1:]
        _write(saved, said, at, numbers)
        return {"object": "edgeproxy.session", "id": saved.id, "messages": numbers}

    async def _in_turn(self, work: Callable[[History], Found]) -> Found:
        """What `work` makes of the history, in a thread, one request after another."""
        if self._waiting >= MOST_WAITING:
            what = "too many requests wait for the history of conversations; ask again"
            raise RefusedError(what, None, "history_busy", UNAVAILABLE)

        def run() -> Found:
            with History(self._path) as history:
                return work(history)

        self._waiting += 1
        try:
            async with self._turn:
                return await in_thread(run, "edgeproxy history")
        except RemovedError:
            what = "there is no such session in the server's history; it may have been removed"
            raise RefusedError(what, "id", "session_not_found", NOT_FOUND) from None
        finally:
            self._waiting -= 1


def _write(saved: Saved, said: Sequence[Said], at: int | None, numbers: list[int]) -> None:
    if said:
        numbers += saved.add(said, at)
    else:
        saved.point(at)


def _named(said: Said, recipe: Recipe, session: SessionInfo) -> Said:
    """`said`, with the trio where that is another one than the session's."""
    if said.role != "assistant" or recipe.name == session.trio:
        return said
    own = {"trio": recipe.name, "models": hashes(recipe)}
    return Said(said.role, said.text, {**said.settings, **own}, said.finish_reason, said.stats)


def _same(entries: Sequence[Entry], parent: int | None, said: Said) -> Entry | None:
    """The message behind `parent` that is `said` already: a client sends again what it must."""
    wanted = _content(said)
    return next(
        (each for each in entries if each.parent == parent and _content(each.said) == wanted), None
    )


def _content(said: Said) -> tuple[Any, ...]:
    made = (json.loads(to_json(said.settings)), json.loads(to_json(said.stats)))
    return said.role, said.text, said.finish_reason, *made


async def not_kept() -> Any:
    """What is answered where the server keeps no conversations. Raises `RefusedError`."""
    what = "this server keeps no conversations; start it with --keep-sessions to have them kept"
    raise RefusedError(what, None, "sessions_not_kept", NOT_FOUND)
