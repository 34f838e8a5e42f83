"""The commands that change how replies are made: /alpha, /set, /proxy, /docs, /trio and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from edgeproxy.cli.chatting.settings import SETTINGS, Setting, number, steer, switch
from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.sources import readers_in_words, say_read
from edgeproxy.errors import UsageError
from edgeproxy.text.near import nearest
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk


def alpha(talk: Talk, value: str) -> None:
    """/alpha X."""
    _steer(talk, "alpha", number("/alpha", value) if value else None)


def base(talk: Talk, value: str) -> None:
    """/base W."""
    _steer(talk, "base_weight", number("/base", value) if value else None)


def mask(talk: Talk, value: str) -> None:
    """/mask BETA."""
    _steer(talk, "plausibility", number("/mask", value) if value else None)


def _steer(talk: Talk, key: str, value: float | None) -> None:
    """Change one field of the steering, or none, and tell what it is now."""
    steer(talk, key, value)
    now = getattr(talk.session.steering, key)
    say(f"{key.replace('_', ' ')} is {now:g}", dim=True)
    if value is not None:
        talk.changed()


def set_(talk: Talk, value: str) -> None:
    """/set NAME VALUE; without a value it tells one, without a name all of them."""
    name, _, new = value.partition(" ")
    if not name:
        width = max(map(len, SETTINGS))
        for each, setting in SETTINGS.items():
            say(f"{each:<{width}}  {setting.shown(talk)}")
        return
    setting = setting_called(name)
    if new.strip():
        setting.put(talk, new.strip())
        talk.changed()
    say(f"{name} is {setting.shown(talk)}", dim=True)


def setting_called(name: str) -> Setting:
    """The setting of this name. Raises `UsageError` that names the nearest one."""
    found = SETTINGS.get(name.replace("_", "-"))
    if found is None:
        raise UsageError(f"there is no setting {name!r}{nearest(name, SETTINGS)}; /set lists them")
    return found


def proxy(talk: Talk, value: str) -> None:
    """/proxy on|off."""
    if value:
        wanted = switch("/proxy", value)
        if not wanted and talk.session.alone == "expert":
            raise UsageError("only the expert was loaded, so the base cannot answer alone")
        talk.has_proxy = wanted
        talk.changed()
    who = "the pair steers the base" if talk.has_proxy else "the base alone answers"
    say(f"proxy is {'on' if talk.has_proxy else 'off'}: {who}", dim=True)


def docs(talk: Talk, value: str) -> None:
    """/docs WHO; without, what was read for the last reply."""
    session = talk.session
    reading = session.reading
    if reading is None:
        raise UsageError(
            "there are no documents here; begin with --docs NAME, an index that edgeproxy "
            "index made"
        )
    if value:
        if value not in get_args(Readers):
            raise UsageError(f"/docs takes nobody, base, expert or all, not {value!r}")
        reading.readers = cast("Readers", value)
        say(f"{readers_in_words(reading.readers)} the documents", dim=True)
    else:
        say_read(talk.turn.read if talk.turn else None, session.speaker.remote is not None)


def system(talk: Talk, value: str) -> None:
    """/system TEXT begins anew with a system message, /system off without."""
    if not value:
        now = talk.conversation.system
        say(f"the system message is: {now}" if now else "no system message")
        return
    _begin_anew(talk, None if value == "off" else value)


def reset(talk: Talk, _value: str) -> None:
    """/reset."""
    talk.attached = []
    _begin_anew(talk, talk.conversation.system)


def _begin_anew(talk: Talk, system: str | None) -> None:
    """Another conversation, which is another session; /undo goes back."""
    talk.keeping.keep_read(talk.session, talk.conversation)
    left = talk.conversation.messages
    talk.conversation.reset(system)
    talk.keeping.begin_anew(left, talk.conversation)
    talk.turn = None
    talk.changed()
    say("the conversation begins anew", dim=True)


def trio(talk: Talk, value: str) -> None:
    """/trio NAME loads another trio, /trio tells which one it is."""
    if value:
        try:
            talk.loaded.switch(value)
        finally:  # also where the old one had to be loaded again
            talk.conversation.speaker = talk.session.speaker
            talk.keeping.use(talk.session)
            talk.turn = None
            talk.changed()
    say(talk.in_words(), dim=True)
