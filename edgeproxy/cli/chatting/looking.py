"""The commands that only tell: /show, /stats and /cite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.cli.chatting.settings import SETTINGS
from edgeproxy.cli.chatting.talk import shortened
from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.sources import say_left_out
from edgeproxy.cli.ui.stats import stats_line
from edgeproxy.errors import UsageError
from edgeproxy.session.overflow import room_of
from edgeproxy.units import in_units

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk

_WIDTH = 12


def show(talk: Talk, _value: str) -> None:
    """/show tells the models, the settings and what was said."""
    session, conversation = talk.session, talk.conversation
    room = room_of(session.speaker, conversation.messages)
    _row("trio", talk.in_words())
    for role, found in session.recipe.loaded.items():
        size = _size(found.path)
        lora = "".join(f" + {each.path.name}" for each in getattr(found, "lora", ()))
        _row(role.replace("_", "-"), f"{found.path.name}{lora}, {size}")
    share = room.used / room.n_ctx
    _row("context", f"{room.used:,} of {room.n_ctx:,} tokens used, {share:.0%}")
    if talk.turn is not None:
        usage = talk.turn.usage
        _row(
            "last reply",
            f"{usage.prompt:,} tokens of prompt, {usage.kept:,} of them known before; "
            f"{usage.completion:,} of reply",
        )
    _row("session", _kept(talk))
    _row("system", shortened(conversation.system) if conversation.system else "no system message")
    for number, question in enumerate(conversation.questions, 1):
        _row(f"message {number}", shortened(question))
    for each in talk.attached:
        _row("attached", f"{each.name}, {each.tokens:,} tokens")
    for name in ("plausibility", "temperature", *_changed(talk), "max-tokens"):
        _row(name, SETTINGS[name].shown(talk))
    say("/set lists all settings", dim=True)


def _kept(talk: Talk) -> str:
    """Whether the conversation is saved, and what it is called."""
    keeper = talk.keeping.keeper
    called = f"{keeper.name} ({keeper.id})" if keeper.name and keeper.id else keeper.id
    if not keeper.is_on:
        return "not saved; /save keeps it"
    if not keeper.is_saving:
        return "it cannot be saved at present"
    return called or "saved from its first message on"


def _size(path: Path) -> str:
    try:
        return in_units(path.stat().st_size)
    except OSError:
        return "not here"


def _changed(talk: Talk) -> list[str]:
    """The settings of the sampling that were asked for, by their names here, and some others."""
    names = [key.replace("_", "-") for key in talk.settings.sampling if key != "temperature"]
    return [*names, *(["stops"] if talk.settings.stops else []), "overflow"]


def _row(name: str, what: str) -> None:
    say(f"{name:<{_WIDTH}} {what}")


def stats(talk: Talk, _value: str) -> None:
    """/stats tells what the last reply took."""
    if talk.turn is None:
        raise UsageError("/stats is about the last reply, and there is none yet")
    say(stats_line(talk.session, talk.turn, talk.loaded.load_seconds))


def cite(talk: Talk, _value: str) -> None:
    """/cite tells which passages the last reply needs."""
    if talk.turn is None:
        raise UsageError("/cite is about the last reply, and there is none yet")
    if talk.turn.read.readers == "nobody":
        what = "/docs base, expert or all lets the next ones be read"
        if talk.session.reading is None:
            what = "begin with --docs NAME, an index that edgeproxy index made"
        raise UsageError(f"the last reply has read no documents; {what}")
    if not say_left_out(talk.turn):
        say("the last reply is about as likely without any document", dim=True)
