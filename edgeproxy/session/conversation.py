"""Turns that build on each other: what was said is remembered."""

from __future__ import annotations

import weakref
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.prompts.formats import Message
from edgeproxy.session.speaker import DEFAULT_MAX_TOKENS, Speaker
from edgeproxy.session.turn import Turn


class Conversation:
    """Turns that build on each other. `messages` is the whole of it, for reading or saving."""

    def __init__(self, speaker: Speaker[Any], system: str | None = None) -> None:
        self._speaker = speaker
        self.messages: list[Message] = []
        self._turn: weakref.ref[Turn] | None = None
        self.reset(system)

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with another system message or none."""
        self.messages = [Message("system", system)] if system else []

    def say(
        self,
        text: str,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        record: int = 0,
        wait: bool = False,
    ) -> Turn:
        """The turn that answers `text`; see `Session.reply`.

        A reply that is cut short stays in the conversation as far as it came; so does one that was
        left in the middle, which ends here. A turn that fails, or is left or cancelled, before it
        has said anything leaves the conversation as it was.
        """
        older = self._turn() if self._turn is not None else None
        if older is not None and older.is_left():
            older.close()
        before = self.messages
        asked = [*before, Message("user", text)]

        def ended(turn: Turn) -> None:
            said = turn.text
            is_whole = turn.finish_reason not in (None, "cancelled")
            # An older reply that ends late must not undo what came after it.
            if (said or is_whole) and self.messages is before:
                self.messages = [*asked, Message("assistant", said)]

        turn = self._speaker.reply(
            asked, sampling, max_tokens, record=record, wait=wait, ended=ended
        )
        self._turn = weakref.ref(turn)
        return turn
