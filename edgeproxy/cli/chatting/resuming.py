"""How a chat begins: with a conversation that was kept, under a name, or anew.

May touch: the history of conversations, and the names of trios.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.chatting.asked import ASKED
from edgeproxy.cli.chatting.keeping import hashes
from edgeproxy.cli.chatting.settings import SAMPLED, SETTINGS
from edgeproxy.cli.ui.completing import trio_names
from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.sessions_shown import day
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import HistoryError, UsageError
from edgeproxy.history.history import History

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.cli.ui.options import Models
    from edgeproxy.history.records import Content, Loaded

_TURNS = 2
"""So many of the last messages are shown, with their replies."""
_LINES = 8
"""So many lines of each are shown."""
_STEERING = tuple(each.name for each in fields(Steering))


@dataclass(frozen=True)
class Beginning:
    """What a chat begins with, found before any model is loaded.

    `session` is the id of one to go on with, or None: then the latest with the trio is, where
    `continues`, and otherwise a new one begins, called `name` if it is not None.
    """

    models: Models
    session: str | None = None
    continues: bool = False
    name: str | None = None

    def begin(self, talk: Talk, system: str | None, given: Mapping[str, Any]) -> Loaded | None:
        """Have `talk` begin so; the conversation that it goes on with, for `say_resumed`.

        `given` are the settings that the command line gave.

        Raises `HistoryError` where there is no conversation, and `UsageError` for a system message
        that it did not begin with.
        """
        keeping = talk.keeping
        if self.session is None and not self.continues:
            keeping.begin(talk.conversation, self.name)
            return None
        loaded = keeping.resume(talk.conversation, self.session)
        _check_system(loaded, system, talk.conversation.system)
        if loaded.settings.get("trio", loaded.session.trio) == talk.session.recipe.name:
            _take_up(talk, loaded.settings, given)
        keeping.put_back(talk.session, talk.conversation)
        talk.changed()
        return loaded


def beginning(continues: bool, name: str | None, models: Models) -> Beginning:
    """What `--continue` or `--session` asks for; without either a new conversation.

    The trio is the conversation's, where `models` names none. Raises `HistoryError` where there is
    no conversation to go on with, and `UsageError` for an impossible name, for both options at
    once, and where the conversation's trio cannot be found by its name.
    """
    if continues and name is not None:
        raise UsageError("--continue and --session both say what to go on with; give one")
    if not continues and name is None:
        return Beginning(models)
    names_trio = models.trio is not None or models.name is None
    with History() as history:
        if name is not None:
            found = history.named(name)
            if found is None:
                history.begin("", {}, name)
                return Beginning(models, name=name.strip())
        elif names_trio:
            return Beginning(models, continues=True)  # the latest with that trio
        else:
            found = history.latest()
            if found is None:
                raise HistoryError("there is no conversation yet; edgeproxy chat begins one")
        loaded = history.load(found.id)
    if not names_trio:
        models = replace(models, trio=_trio_of(loaded))
    return Beginning(models, found.id, continues)


def _trio_of(loaded: Loaded) -> str:
    """The trio that a conversation was with last. Raises `UsageError`."""
    last = loaded.settings.get("trio")
    name = last if isinstance(last, str) else loaded.session.trio
    if name not in trio_names():
        raise UsageError(
            f"the conversation {loaded.session.id} is with {name}, which is no trio's name here; "
            "say which trio goes on with it: --trio TRIO, or --base, --expert and --anti-expert"
        )
    return name


def _check_system(loaded: Loaded, given: str | None, its_own: str | None) -> None:
    if given is not None and given != (its_own or ""):
        session = loaded.session
        raise UsageError(
            f"the conversation {session.name or session.id} began with another system message; "
            "leave --system out, or begin another one with --session NAME"
        )


def _take_up(talk: Talk, kept: Content, given: Mapping[str, Any]) -> None:
    """Steer and draw as the conversation was, but for what the command line says now."""
    steering, sampling, asked = (kept.get(key) for key in ("steering", "sampling", ASKED))
    if isinstance(steering, Mapping):
        change: Any = {k: steering.get(k) for k in _STEERING if given.get(k) is None}
        with suppress(UsageError):  # of a newer edgeproxy, or of nobody's
            talk.session.steering = talk.session.steering.changed(change)
    if isinstance(sampling, Mapping) and isinstance(asked, list):
        for name in SAMPLED:
            key = name.replace("-", "_")
            if key in asked and key in sampling and given.get(key) is None:
                with suppress(UsageError):
                    SETTINGS[name].put(talk, str(sampling[key]))


def say_resumed(talk: Talk, loaded: Loaded) -> None:
    """Tell which conversation goes on, and what was said last in it."""
    session, said = loaded.session, [e.said for e in loaded.answered if e.said.role != "system"]
    count = f"{len(said):,} messages" if len(said) != 1 else "1 message"
    begun = f"the last of {day(said[-1].created)}" if said else f"begun on {day(session.created)}"
    called = f"{session.name} ({session.id})" if session.name else session.id
    say(f"{called}: {count}, {begun}", dim=True)
    _say_other_models(talk, loaded)
    shown = said[-2 * _TURNS :]
    if len(shown) < len(said):
        say("...", dim=True)
    for each in shown:
        _say_text(each.text, "> " if each.role == "user" else "")
    if loaded.unanswered is not None and talk.can_edit:
        talk.typed = loaded.unanswered
        say("(your last message has no reply; here it is again)", dim=True)
    elif loaded.unanswered is not None:
        say("(your last message has no reply, and can be sent again:)", dim=True)
        _say_text(loaded.unanswered, "> ")


def _say_other_models(talk: Talk, loaded: Loaded) -> None:
    """Tell where others answer than until now."""
    now, models = talk.session.recipe.name, hashes(talk.session)
    last = loaded.settings.get("trio", loaded.session.trio)
    before = loaded.settings.get("models", loaded.session.models)
    if last != now:
        say(f"(it was with {last}, and {now} answers now)", dim=True)
    elif isinstance(before, Mapping):
        changed = [role for role, sha256 in models.items() if before.get(role, sha256) != sha256]
        if changed:
            names = " and ".join(role.replace("_", "-") for role in changed)
            say(f"({names} of {now} changed since)", dim=True)


def _say_text(text: str, mark: str) -> None:
    lines = text.expandtabs(4).rstrip().splitlines() or [""]
    for number, line in enumerate(lines[:_LINES]):
        say((mark if not number else " " * len(mark)) + line, dim=True)
    if len(lines) > _LINES:
        left = len(lines) - _LINES
        say(f"({left:,} more {'lines' if left > 1 else 'line'})", dim=True)
