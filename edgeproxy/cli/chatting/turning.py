"""The commands about what was said: /regen, /undo, /edit and /file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.cli.chatting.talk import Attached, shortened
from edgeproxy.cli.ui.output import say
from edgeproxy.core.utf8 import decode
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.files import open_regular, reason
from edgeproxy.prompts.formats import Message
from edgeproxy.session.overflow import reserve

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk

_MOST_BYTES = 8 << 20
"""A larger file would fit no context."""


def regen(talk: Talk, _value: str) -> None:
    """/regen answers the last message once more."""
    before = talk.conversation.messages
    talk.again()
    if talk.sampling.temperature == 0.0 and talk.conversation.messages == before:
        say("(temperature is 0, which gives the same again; /set temperature 0.8 draws)", dim=True)


def undo(talk: Talk, _value: str) -> None:
    """/undo takes back the last change of the conversation."""
    before = talk.conversation.questions
    if not talk.conversation.undo():
        raise UsageError("there is nothing to take back")
    talk.turn = None
    talk.changed()
    now = talk.conversation.questions
    last = f"; the last message is {shortened(now[-1])!r}" if now else ""
    what = "took back" if len(now) < len(before) else "went back before the last change"
    what = f"{what} {shortened(before[-1])!r}" if len(now) < len(before) else what
    say(f"({what}{last})", dim=True)


def edit(talk: Talk, value: str) -> None:
    """/edit [N] [TEXT] answers an earlier message anew, as changed."""
    questions = talk.conversation.questions
    if not questions:
        raise UsageError("there is no message of yours yet that could be changed")
    first, _, text = value.partition(" ")
    number = len(questions)
    if first:
        if first not in map(str, range(1, number + 1)):
            raise UsageError(
                f"/edit takes the number of a message of yours, 1 to {number}, not {first!r}; "
                "/show lists them"
            )
        number = int(first)
    old = questions[number - 1]
    text = text.strip()
    if not text:
        if not talk.is_interactive or talk.read_line is None:
            raise UsageError(f"say what it is to be: /edit {number} TEXT")
        try:
            text = talk.read_line(old)
        except (EOFError, KeyboardInterrupt):
            text = ""
        if not text.strip() or text == old:
            say("(nothing was changed)", dim=True)
            return
    left = len(questions) - number
    talk.edit(number, text)
    if left and talk.conversation.questions[number - 1 :] == [text]:
        rest = f"{left} messages" if left > 1 else "a message"
        say(f"(left behind, with {rest} after it: /undo goes back there)", dim=True)


def file(talk: Talk, value: str) -> None:
    """/file PATH puts a text file's content into the next message; off takes it out again."""
    if value in ("", "off"):
        if value:
            talk.attached = []
        for each in talk.attached:
            say(f"{each.name}: {each.tokens:,} tokens")
        if not talk.attached:
            say("no file goes with the next message", dim=True)
        return
    path = Path(value.strip("'\"")).expanduser()
    text = f"{path.name}:\n\n{_read(path)}"
    speaker, room = talk.session.speaker, talk.session.n_ctx
    messages = [*talk.conversation.messages, *(Message("user", a.text) for a in talk.attached)]
    used = speaker.count(messages) if messages else 0
    tokens = speaker.count([*messages, Message("user", text)]) - used
    system = talk.conversation.messages[:1] if talk.conversation.system else []
    if talk.settings.overflow == "trim":  # the turns before it may go
        kept = [*system, *(Message("user", each.text) for each in talk.attached)]
        used = speaker.count(kept) if kept else 0
    free = room - used - reserve(room, talk.settings.max_tokens)
    if tokens > free:
        raise PromptError(
            f"{path}: it has {tokens:,} tokens, and {max(free, 0):,} of the context's {room:,} are "
            "free besides the conversation and a reply; take a part of it, or allow more with "
            "--ctx N at the start"
        )
    talk.attached.append(Attached(path.name, text, tokens))
    words = f"{path.name} goes with the next message: {tokens:,} tokens (/file off takes it out)"
    say(words, dim=True)


def _read(path: Path) -> str:
    """The text of a file. Raises `PromptError` that says what is wrong with it."""
    try:
        with open_regular(path) as opened:
            data = opened.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: it cannot be read: {reason(error)}") from None
    data = data or b""
    if len(data) > _MOST_BYTES:
        raise PromptError(f"{path}: it has more than {_MOST_BYTES:,} bytes; take a part of it")
    if b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PromptError(f"{path}: it is a binary file, not text; documents: edgeproxy index")
    text = decode(data, str(path)).strip("\n")
    if not text.strip():
        raise PromptError(f"{path}: there is no text in it")
    return text
