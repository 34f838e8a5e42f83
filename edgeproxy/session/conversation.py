"""Turns that build on each other: what was said is remembered, and can be taken back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message
from edgeproxy.session.asking import DEFAULT_MAX_TOKENS
from edgeproxy.session.overflow import split
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Turn

_KEPT_STATES = 1000
"""So many changes of a conversation can be taken back."""


class Conversation:
    """Turns that build on each other. `messages` is the whole of it, for reading or saving.

    `speaker` answers; another one may be put in its place between turns.
    """

    def __init__(self, speaker: Speaker[Any], system: str | None = None) -> None:
        self.speaker = speaker
        self.messages: list[Message] = [Message("system", system)] if system else []
        self.dropped: list[Message] = []
        """What `trim` has dropped, the oldest first: it stood behind the system message."""
        self._past: list[tuple[list[Message], list[Message]]] = []
        self._turn: weakref.ref[Turn] | None = None

    @property
    def system(self) -> str | None:
        """The system message, or None."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else None

    @property
    def whole(self) -> list[Message]:
        """All that was said, what `trim` has dropped included."""
        start = 1 if self.system is not None else 0
        return [*self.messages[:start], *self.dropped, *self.messages[start:]]

    @property
    def questions(self) -> list[str]:
        """What the user has said, in order."""
        return [message.content for message in self.messages if message.role == "user"]

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with another system message or none."""
        self._end_left()
        self._become([Message("system", system)] if system else [], [])

    def restore(self, messages: Sequence[Message], dropped: Sequence[Message] = ()) -> None:
        """Go on from a conversation that was saved; nothing before it can be taken back."""
        self._end_left()
        self.messages, self.dropped = list(messages), list(dropped)
        self._past.clear()

    def say(
        self,
        text: str,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        stops: str | Sequence[str] = (),
        steering: Steering | None = None,
        grammar: Grammar | None = None,
        record: int = 0,
        progress: PromptProgress | None = None,
        wait: bool = False,
    ) -> Turn:
        """The turn that answers `text`; see `Session.reply`.

        A reply that is cut short stays in the conversation as far as it came; so does one that was
        left in the middle, which ends here. A turn that fails, or is left or cancelled, before it
        has said anything leaves the conversation as it was.
        """
        self._end_left()
        how = {
            "stops": stops,
            "steering": steering,
            "grammar": grammar,
            "record": record,
            "progress": progress,
            "wait": wait,
        }
        return self._ask(self.messages, text, sampling, max_tokens, how)

    def before(self, number: int) -> list[Message]:
        """What stands before the user's message of this number, from 1.

        Raises `UsageError` where there is no such message.
        """
        places = [n for n, message in enumerate(self.messages) if message.role == "user"]
        if not 1 <= number <= len(places):
            raise UsageError(
                f"there is no message {number} of yours; there are 1 to {len(places)}"
                if places
                else "you have not said anything yet"
            )
        return self.messages[: places[number - 1]]

    def again(
        self,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        **how: Any,
    ) -> Turn:
        """The turn that answers the last message once more, in place of its reply.

        It is as `say` of that message, and leaves the conversation as it was where that would.
        Raises `UsageError` where nothing was said yet.
        """
        count = len(self.questions)
        if not count:
            raise UsageError("there is no message yet that could be answered again")
        return self.edit(count, self.questions[-1], sampling, max_tokens, **how)

    def edit(
        self,
        number: int,
        text: str,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        **how: Any,
    ) -> Turn:
        """The turn that answers `text` in place of the user's message of this number, from 1.

        The conversation goes on from there; `undo` brings back what followed the message before.
        It is as `say`, and leaves the conversation as it was where that would. Raises `UsageError`
        where there is no such message.
        """
        self._end_left()
        return self._ask(self.before(number), text, sampling, max_tokens, how)

    def undo(self) -> bool:
        """Take back the last change: a message with its reply, an edit, a reset; False for none.

        Of what was restored, the last message goes with all that follows it.
        """
        self._end_left()
        if self._past:
            self.messages, self.dropped = self._past.pop()
            return True
        places = [n for n, message in enumerate(self.messages) if message.role == "user"]
        if places:
            self.messages = self.messages[: places[-1]]
        return bool(places)

    def trim(self, fits: Callable[[Sequence[Message]], bool]) -> list[Message]:
        """Drop the oldest turns whole, as few as let the rest fit; what was dropped.

        The system message stays. `fits` is asked of shorter and shorter conversations; where even
        the one without any turn does not fit, nothing is dropped.
        """
        self._end_left()
        kept, dropped = split(self.messages, fits)
        if dropped:
            self._become(kept, [*self.dropped, *dropped])
        return dropped

    def _ask(
        self,
        base: Sequence[Message],
        text: str,
        sampling: Sampling | None,
        max_tokens: int,
        how: dict[str, Any],
    ) -> Turn:
        """The turn that answers `text` after `base`, which is all or a part of what was said."""
        before = self.messages
        asked = [*base, Message("user", text)]

        def ended(turn: Turn) -> None:
            said = turn.text
            is_whole = turn.finish_reason not in (None, "cancelled")
            # An older reply that ends late must not undo what came after it.
            if (said or is_whole) and self.messages is before:
                self._become([*asked, Message("assistant", said)], self.dropped)

        turn = self.speaker.reply(asked, sampling, max_tokens, ended=ended, **how)
        self._turn = weakref.ref(turn)
        return turn

    def _become(self, messages: list[Message], dropped: list[Message]) -> None:
        self._past.append((self.messages, self.dropped))
        del self._past[:-_KEPT_STATES]
        self.messages, self.dropped = messages, dropped

    def _end_left(self) -> None:
        """End a turn that was left in the middle."""
        older = self._turn() if self._turn is not None else None
        if older is not None and older.is_left():
            older.close()
