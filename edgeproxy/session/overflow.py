"""Long conversations: how full the context is, and which of the oldest turns would make room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from edgeproxy.prompts.formats import Message
from edgeproxy.session.speaker import Speaker

Overflow = Literal["error", "trim"]
"""What becomes of a message that does not fit: an error, or the oldest turns are dropped."""

NEAR = 0.9
"""The share of the context from which on it is nearly full."""

_FOR_REPLY = 4
"""A reply is left room for as far as one part in so many of the context goes."""


class Room(NamedTuple):
    """How much of a context is used, in tokens; `last` is what the last turn took of it."""

    used: int
    n_ctx: int
    last: int = 0

    @property
    def left(self) -> int:
        """The tokens that are free."""
        return max(self.n_ctx - self.used, 0)

    @property
    def is_near(self) -> bool:
        """Whether it is nearly full."""
        return self.used >= NEAR * self.n_ctx

    @property
    def may_not_fit(self) -> bool:
        """Whether a turn as long as the last one would not fit."""
        return self.last > self.left


def room_of(speaker: Speaker[Any], messages: Sequence[Message]) -> Room:
    """How much of the speaker's context a conversation takes. Raises `PromptError`."""
    if not messages:
        return Room(0, speaker.n_ctx)
    used = speaker.count(messages)
    _, turns = _parts(messages)
    before = messages[: len(messages) - len(turns[-1])] if turns else messages
    last = used - (speaker.count(before) if before else 0) if turns else 0
    return Room(used, speaker.n_ctx, last)


def reserve(n_ctx: int, max_tokens: int) -> int:
    """How many tokens are to be left for a reply of at most `max_tokens`."""
    return min(max_tokens, n_ctx // _FOR_REPLY)


def split(
    messages: Sequence[Message], fits: Callable[[Sequence[Message]], bool]
) -> tuple[list[Message], list[Message]]:
    """A conversation without as few of its oldest turns as let it fit, and what was dropped.

    A turn is a message of the user's with all that follows it. What stands before the first one,
    such as the system message, stays. Where nothing fits, nothing is dropped.
    """
    opening, turns = _parts(messages)

    def rest(n: int) -> list[Message]:
        return [*opening, *(message for turn in turns[n:] for message in turn)]

    if not fits(rest(len(turns))):
        return list(messages), []
    low, high = 0, len(turns)  # rest(high) fits
    while low < high:
        middle = (low + high) // 2
        if fits(rest(middle)):
            high = middle
        else:
            low = middle + 1
    return rest(high), [message for turn in turns[:high] for message in turn]


def _parts(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """What stands before the user's first message, and the turns from there on."""
    opening: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "user":
            turns.append([message])
        else:
            (turns[-1] if turns else opening).append(message)
    return opening, turns
