"""One chat: what was said, what is set, and a person's lines answered one after another."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgeproxy.cli.chatting.asked import Settings
from edgeproxy.cli.chatting.keeping import Keeping, keeping_of
from edgeproxy.cli.chatting.loaded import Loaded
from edgeproxy.cli.chatting.printing import Plain, Printer, Rendered
from edgeproxy.cli.chatting.reading import PromptReading
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import say, write
from edgeproxy.cli.ui.sources import readers_in_words, say_left_out, say_sources
from edgeproxy.cli.ui.stats import stats_line, steering_in_words
from edgeproxy.decode.sample import draw_seed
from edgeproxy.decode.steering import BASE_ALONE
from edgeproxy.errors import Cancelled, ContextFullError, EdgeproxyError, PromptError
from edgeproxy.prompts.formats import Message
from edgeproxy.session.overflow import Room, reserve, room_of

if TYPE_CHECKING:
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.decode.steering import Steering
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn

_NOTES = {
    "length": "(cut off at the longest reply asked for; /set max-tokens N allows more)",
    "context": "(cut off: the context is full; /reset begins anew)",
    "cancelled": "(stopped)",
}
_EMPTY = "(the reply is empty)"
_TWICE_SECONDS = 1.0
"""Two presses of Ctrl-C within this time are one wish: to leave."""

_SHOWN = 40
"""So many characters of a message are enough to know it by."""

Obey = Callable[["Talk", str], bool]
"""Does what a line that begins with a slash says; False when it says to leave."""


class LineReader(Protocol):
    """Gives the next line; `text` is what a person finds there to change.

    Raises `EOFError` at the end and `PromptError` for what is no text; a line may follow that.
    """

    def __call__(self, text: str = "") -> str:
        """The line."""


class Attached(NamedTuple):
    """A file's text that goes with the next message."""

    name: str
    text: str
    tokens: int


class Talk:
    """A conversation and what a person sees of it.

    `is_interactive` says whether a person sits at both ends. `stats` are what loading has to say,
    where figures were asked for after each reply; with `cite` the models are asked which passages
    each reply needs. `keeping` hears of every change.
    """

    def __init__(
        self,
        loaded: Loaded,
        settings: Settings,
        system: str | None = None,
        *,
        is_interactive: bool = False,
        can_render: bool = False,
        can_edit: bool = False,
        cite: bool = False,
        stats: Sequence[str] | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self.conversation = loaded.session.conversation(system)
        self.is_interactive = is_interactive
        self.can_render = can_render
        self.can_edit = can_edit
        """Whether the line editor reads, which can have a text there to be changed."""
        self.keeping = keeping or keeping_of(loaded.session, False)
        self.has_proxy = True
        """Whether the pair has a say; without it the base alone answers."""
        self.attached: list[Attached] = []
        self.turn: Turn | None = None
        """The last reply."""
        self.read_line: LineReader | None = None
        self.typed = ""
        """What a person finds at the next prompt, where that can be (`can_edit`)."""
        self.hush: Callable[[], AbstractContextManager[None]] = nullcontext
        """What keeps a person's keys out of a reply that comes."""
        self.room = Room(0, loaded.session.n_ctx)
        self._cite = cite
        self._stats = stats
        self._reading = PromptReading()
        self._last_press = -_TWICE_SECONDS
        self._warned = False
        self._warned_room = False
        self._leaves = False

    @property
    def session(self) -> Session:
        """The trio in memory."""
        return self.loaded.session

    @property
    def sampling(self) -> Sampling:
        """What replies are drawn with."""
        return self.settings.sampled(self.session.sampling)

    @property
    def steering(self) -> Steering:
        """What replies are steered by."""
        return self.session.steering if self.has_proxy else BASE_ALONE

    @property
    def n_vocab(self) -> int:
        """The tokens of the vocabulary that replies are drawn from."""
        return self.session.speaker.n_vocab

    def in_words(self) -> str:
        """The trio, how it answers, who reads documents, and where a base is that is not here."""
        session = self.session
        words = [f"{session.recipe.name}, {steering_in_words(self.steering)}"]
        documents, remote = session.recipe.documents, session.speaker.remote
        if session.reading is not None and documents is not None:
            words.append(f"{readers_in_words(session.reading.readers)} {documents.index}")
        if remote is not None:
            words.append(f"the base is at {remote.server.who}, where the conversation is sent")
        return "; ".join(words)

    def run(self, read_line: LineReader, obey: Obey) -> int:
        """Answer every line; the exit code: 1 when a line of a pipe could not be answered.

        Lines that begin with a slash are for `obey`. Raises `KeyboardInterrupt` when Ctrl-C was
        pressed twice.
        """
        self.read_line = read_line
        failed = False
        while True:
            try:
                typed, self.typed = self.typed, ""
                line = read_line(typed)
            except EOFError:
                break
            except KeyboardInterrupt:
                self._pressed_at_prompt()
                continue
            except PromptError as error:
                say(str(error))
                failed = True
                continue
            self._warned = False
            try:
                if line.startswith("/"):
                    if not obey(self, line):
                        break
                elif line.strip() or self.attached:
                    self.say(line)
            except KeyboardInterrupt:  # twice, or between a reply and the next prompt
                if self._leaves or not self.is_interactive:
                    raise
                self._pressed_at_prompt()
            except Cancelled:  # Ctrl-C while the sources of a reply were looked for
                self._last_press = time.monotonic()
                say(_NOTES["cancelled"], dim=True)
            except EdgeproxyError as error:
                say(str(error))
                failed = True
        return int(failed and not self.is_interactive)

    def _pressed_at_prompt(self) -> None:
        twice = self._warned or time.monotonic() - self._last_press < _TWICE_SECONDS
        if twice or not self.is_interactive:
            raise KeyboardInterrupt
        self._warned = True
        say("press Ctrl-C again or type /quit to leave", dim=True)

    # Replies

    def say(self, text: str) -> None:
        """Answer a message, with what is attached to it. Raises as a reply does."""
        text = "\n\n".join([*(each.text for each in self.attached), *([text] if text else [])])
        conversation = self.conversation
        self._make_room(text)
        before, sampling = conversation.messages, self.drawn()
        try:
            turn = conversation.say(text, sampling, **self.how())
            self._play(turn, before, text)
        finally:
            if conversation.messages is not before:  # else it can be sent again
                self.attached = []

    def again(self) -> None:
        """Answer the last message once more. Raises as `Conversation.again` does."""
        questions = self.conversation.questions
        turn = self.conversation.again(self.drawn(), **self.how())
        self._play(turn, self.conversation.before(len(questions)), questions[-1])

    def edit(self, number: int, text: str) -> None:
        """Answer `text` in place of an earlier message. Raises as `Conversation.edit` does."""
        turn = self.conversation.edit(number, text, self.drawn(), **self.how())
        self._play(turn, self.conversation.before(number), text)

    def drawn(self) -> Sampling:
        """The sampling of the next reply, with its seed: it is kept, and can be drawn again."""
        sampling = self.sampling
        return sampling if sampling.seed is not None else replace(sampling, seed=draw_seed())

    def how(self) -> dict[str, Any]:
        """What replies are asked for with, besides the sampling."""
        return {
            "max_tokens": self.settings.max_tokens,
            "stops": self.settings.stops,
            "steering": None if self.has_proxy else BASE_ALONE,
            "grammar": self.settings.grammar,
            "record": self.settings.record,
            "progress": self._reading.progress,
        }

    def _play(self, turn: Turn, before: Sequence[Message], text: str) -> None:
        """Show the reply to `text`, after `before`, and what there is to say of it."""
        asked = self.settings.as_kept(self.steering, turn.asked.sampling)
        self.keeping.asked(self.conversation, before, text, asked)
        # Keys that come while it is being saved are for the next prompt, and Ctrl-C is none there.
        with self.hush(), on_interrupt(turn.cancel) as late:
            try:
                presses = self.show(turn)
            finally:
                turn.close()  # also where the terminal is gone amid it
                self.keeping.answered(self.conversation, turn)
            if turn.finish_reason in _NOTES:
                say(_NOTES[turn.finish_reason], dim=True)
            elif not turn.text:
                say(_EMPTY, dim=True)
            say_sources(turn)
            self.turn = turn
            self.changed()
        if presses or late.count:
            self._last_press = time.monotonic()
        if self._cite and turn.read.found and turn.finish_reason != "cancelled":
            say_left_out(turn)
        if self._stats is not None:
            say(stats_line(self.session, turn, self.loaded.load_seconds, self._stats), dim=True)
        self.warn_of_room()
        if presses > 1:
            self._leaves = True
            raise KeyboardInterrupt

    def show(self, turn: Turn) -> int:
        """Show a reply as it comes, on lines of its own; how often Ctrl-C was pressed meanwhile.

        Raises `ContextFullError` that says what to do, and as the turn does.
        """
        printer = self.printer()
        with self.hush(), on_interrupt(turn.cancel) as presses, self._reading.shown():
            try:
                for piece in turn:
                    self._reading.end()
                    printer.feed(piece.text)
            except ContextFullError:
                raise self._too_long() from None
            except KeyboardInterrupt:
                self._leaves = True  # it was pressed so often that the work was left amid it
                raise
            finally:
                self._reading.end()
                # Whatever follows, a message or the next question, begins a line of its own.
                if turn.text and sys.exc_info()[0] is not BrokenPipeError:
                    printer.end()
                    if not turn.text.endswith("\n"):
                        write("\n")
        return presses.count

    def printer(self) -> Printer:
        """What shows a reply."""
        if self.can_render and self.settings.is_rendered:
            return Rendered(self.settings.wraps)
        return Plain()

    # The context

    def changed(self) -> None:
        """The conversation, its trio or its settings have changed: measure it, and tell it."""
        if self.is_interactive:
            with suppress(EdgeproxyError):  # what cannot be measured is not less said
                self.room = room_of(self.session.speaker, self.conversation.messages)
        self.keeping.changed(self.conversation)

    def fits(self, messages: Sequence[Message], text: str) -> bool:
        """Whether a message after these, and a reply, fit the context."""
        speaker, n_ctx = self.session.speaker, self.session.n_ctx
        tokens = speaker.count([*messages, Message("user", text)], docs_to=None)
        return tokens + reserve(n_ctx, self.settings.max_tokens) <= n_ctx

    def _make_room(self, text: str) -> None:
        """Drop the oldest turns where that was asked for and the message would not fit."""
        if self.settings.overflow != "trim" or not text.strip():
            return
        dropped = self.conversation.trim(lambda messages: self.fits(messages, text))
        questions = [message.content for message in dropped if message.role == "user"]
        if questions:
            count = f"{len(questions)} oldest messages" if len(questions) > 1 else "oldest message"
            say(
                f"(dropped the {count} and what was answered, from {shortened(questions[0])!r} on, "
                "to make room; the models know nothing of it any more)",
                dim=True,
            )

    def warn_of_room(self) -> None:
        """Tell once that the context will soon be full."""
        room = self.room
        if not self.is_interactive or not (room.is_near or room.may_not_fit):
            self._warned_room = False
            return
        if self._warned_room:
            return
        self._warned_room = True
        if self.settings.overflow == "trim":
            what = "the oldest turns will be dropped"
        else:
            what = "/undo takes back, /reset begins anew, /set overflow trim drops the oldest turns"
        used = f"{room.used:,} of the context's {room.n_ctx:,} tokens are used"
        if room.may_not_fit:
            used += f", and a message like the last one ({room.last:,}) may not fit"
        say(f"({used}: {what})", dim=True)

    def _too_long(self) -> ContextFullError:
        """What to do where the conversation and the new message do not fit the context."""
        n_ctx = self.session.n_ctx
        if any(message.role == "assistant" for message in self.conversation.messages):
            return ContextFullError(
                f"the conversation and this message do not fit the context of {n_ctx:,} tokens; "
                "/reset begins anew, /set overflow trim drops the oldest turns, and --ctx N at the "
                "start allows more"
            )
        return ContextFullError(
            f"the message does not fit the context of {n_ctx:,} tokens; "
            "send less text, or allow more with --ctx N at the start"
        )


def shortened(text: str) -> str:
    """The beginning of a text, on a line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
