"""The commands about what is kept: /save, /load and /sessions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgeproxy.cli.chatting.resuming import say_resumed
from edgeproxy.cli.ui.output import columns, say
from edgeproxy.cli.ui.sessions_shown import HEAD, SPEAKERS, heading_of, row_of
from edgeproxy.errors import HistoryError

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.history.records import Hit

_LISTED = 10
"""So many sessions, or messages that were found, are listed."""


def save(talk: Talk, value: str) -> None:
    """/save NAME names the conversation, /save alone keeps one that was not to be."""
    keeper = talk.keeping.keeper
    was_kept = keeper.is_saving
    session = keeper.save(value or None)
    if session is None:
        name = f" as {keeper.name}" if keeper.name else ""
        say(f"the conversation will be saved{name}, from its first message on", dim=True)
        return
    since = "" if was_kept else ", and from now on it is saved by itself"
    called = session.name or session.id
    how = f"edgeproxy chat --session {shlex.quote(called)}"
    say(f"saved as {called}{since}; {how} goes on with it", dim=True)


def load(talk: Talk, value: str) -> None:
    """/load NAME goes on with another conversation, /load with the latest of this trio."""
    keeping, session = talk.keeping, talk.session
    wanted = _wanted(talk, value)
    keeping.keep_read(session, talk.conversation)
    loaded = keeping.resume(talk.conversation, wanted)
    talk.turn, talk.attached = None, []
    keeping.put_back(session, talk.conversation)
    talk.changed()
    say_resumed(talk, loaded)


def _wanted(talk: Talk, value: str) -> str:
    """The id of a session, of the latest other one where `value` names none."""
    keeper, trio = talk.keeping.keeper, talk.session.recipe.name
    if value:
        return keeper.history.find(value).id
    others = [each.id for each in keeper.history.sessions(2, trio) if each.id != keeper.id]
    if not others:
        raise HistoryError(f"there is no other conversation with {trio}; /sessions lists all")
    return others[0]


def sessions(talk: Talk, value: str) -> None:
    """/sessions lists the latest ones, /sessions WORDS those in which the words were said."""
    keeper = talk.keeping.keeper
    history = keeper.history
    if value:
        hits = history.search(value, _LISTED)
        for hit in hits:
            say(heading_of(hit))
            say(f"  {SPEAKERS[hit.entry.said.role]}: {_marked(hit)}")
        if not hits:
            say("nothing was found", dim=True)
        return
    found = history.sessions(_LISTED)
    for line in columns([HEAD, *map(row_of, found)]) if found else ():
        say(line.rstrip(), dim=keeper.id is not None and line.startswith(keeper.id))
    say("/load NAME goes on with one" if found else "there are no sessions yet", dim=True)


def _marked(hit: Hit) -> str:
    """The stretch around what was found, that between stars."""
    parts, at = [], 0
    for start, end in hit.spans:
        parts += [hit.excerpt[at:start], f"*{hit.excerpt[start:end]}*"]
        at = end
    return "".join([*parts, hit.excerpt[at:]])
