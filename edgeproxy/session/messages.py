"""What callers give as messages and stop strings -> what speakers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.formats import Message

Messages = str | Sequence[Message | Mapping[str, str]]
"""One message of a user's, or a conversation: `Message`s, or dicts of a role and a content."""


def as_messages(messages: Messages) -> tuple[Message, ...]:
    """`messages` as `Message`s. Raises `PromptError` for what is no conversation."""
    if isinstance(messages, str):
        return (Message("user", messages),)
    if isinstance(messages, bytes | Mapping) or not isinstance(messages, Sequence):
        raise PromptError(
            f"messages must be text or a list of messages, not {type(messages).__name__}"
        )
    if not messages:
        raise PromptError("there is no message to answer")
    return tuple(map(_as_message, messages))


def as_text(text: str) -> tuple[Message, ...]:
    """A text that is gone on with as it stands, as a `Message`. Raises `PromptError` for others."""
    if not isinstance(text, str):
        raise PromptError(f"what is to be gone on with must be text, not {type(text).__name__}")
    if not text:
        raise PromptError("the text to go on with is empty; write something")
    return (Message("assistant", text),)  # a user's could not be of white space alone


def as_given(given: str | Sequence[int]) -> tuple[tuple[Message, ...], tuple[int, ...]]:
    """What is gone on with as it stands: a text as a `Message`, or the ids of tokens.

    Raises `PromptError` for anything else.
    """
    if isinstance(given, str):
        return as_text(given), ()
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise PromptError(
            f"what is to be gone on with must be text or ids of tokens, not {type(given).__name__}"
        )
    if not given:
        raise PromptError("there are no tokens to go on with")
    for token in given:
        if not isinstance(token, Integral) or isinstance(token, bool) or token < 0:
            raise PromptError(
                "what is to be gone on with must be text, or whole numbers from 0 on that are "
                f"tokens' ids, not {token!r}"
            )
    return (), tuple(map(int, given))


def as_asked(asked: Messages, is_raw: bool) -> tuple[Message, ...]:
    """A conversation, or with `is_raw` a text to go on with. Raises `PromptError`."""
    return as_text(asked) if is_raw and isinstance(asked, str) else as_messages(asked)


def _as_message(message: object) -> Message:
    if isinstance(message, Message):
        return message
    if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
        said = sorted(map(str, message)) if isinstance(message, Mapping) else repr(message)
        raise PromptError(
            f'a message is a Message or a dict of "role" and "content" alone, not {said}'
        )
    return Message(message["role"], message["content"])


def as_stops(stops: str | Sequence[str]) -> tuple[str, ...]:
    """`stops` as a tuple; one text is one stop string. Raises `UsageError` for what is no text."""
    if isinstance(stops, str):
        stops = (stops,)
    if isinstance(stops, bytes) or not isinstance(stops, Sequence):
        raise UsageError(f"stops must be text or a list of texts, not {stops!r}")
    for stop in stops:
        if not isinstance(stop, str) or not stop:
            raise UsageError(f"a stop string must be text that is not empty, not {stop!r}")
    return tuple(stops)
