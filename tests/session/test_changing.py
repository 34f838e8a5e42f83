"""Conversations that are changed: taken back, answered again, edited, trimmed, moved to others."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.errors import ContextFullError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.overflow import Room, reserve, room_of, split
from edgeproxy.session.speaker import SoloSpeaker
from tests.helpers.fakes import FakeModel, saying

REPLIES = {"Hello\n": "Hi!", "Bye\n": "See you", "Again\n": "Ok", "Other\n": "What?"}


def speaker_of(n_ctx: int = 1000) -> SoloSpeaker:
    return SoloSpeaker(saying(REPLIES, n_ctx=n_ctx), FORMATS["plain"])


def talked(*questions: str, system: str | None = None, n_ctx: int = 1000) -> Conversation:
    """A conversation in which these were asked and answered."""
    conversation = Conversation(speaker_of(n_ctx), system)
    for question in questions:
        list(conversation.say(question))
    return conversation


def said(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def test_undo_takes_back_a_message_and_its_reply() -> None:
    conversation = talked("Hello", "Bye", system="Be kind.")
    assert conversation.undo()
    assert said(conversation) == ["Be kind.", "Hello", "Hi!"]
    assert conversation.undo()
    assert said(conversation) == ["Be kind."]
    assert not conversation.undo()
    assert said(conversation) == ["Be kind."]


def test_the_models_go_on_rightly_after_an_undo() -> None:
    conversation = talked("Hello", "Bye")
    conversation.undo()
    list(conversation.say("Again"))
    assert said(conversation) == ["Hello", "Hi!", "Again", "Ok"]
    model = conversation.speaker._model
    assert isinstance(model, FakeModel)
    assert bytes(model.history) == b"Hello\nHi!\nAgain\nOk"


def test_again_answers_the_last_message_once_more() -> None:
    conversation = talked("Hello", "Bye")
    list(conversation.again(max_tokens=3))
    assert said(conversation) == ["Hello", "Hi!", "Bye", "See"]
    assert conversation.undo()
    assert said(conversation) == ["Hello", "Hi!", "Bye", "See you"]


def test_an_edit_goes_on_from_there_and_can_be_taken_back() -> None:
    conversation = talked("Hello", "Bye", "Again", system="S")
    list(conversation.edit(2, "Other"))
    assert said(conversation) == ["S", "Hello", "Hi!", "Other", "What?"]
    assert conversation.questions == ["Hello", "Other"]
    assert conversation.undo()
    assert said(conversation) == ["S", "Hello", "Hi!", "Bye", "See you", "Again", "Ok"]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_an_edit_of_what_was_not_said_is_refused(number: int) -> None:
    conversation = talked("Hello", "Bye")
    with pytest.raises(UsageError, match=f"no message {number} of yours; there are 1 to 2"):
        conversation.edit(number, "Other")
    assert said(conversation) == ["Hello", "Hi!", "Bye", "See you"]


def test_nothing_can_be_edited_or_answered_again_before_anything_was_said() -> None:
    conversation = Conversation(speaker_of(), "S")
    with pytest.raises(UsageError, match="not said anything"):
        conversation.edit(1, "Other")
    with pytest.raises(UsageError, match="no message yet"):
        conversation.again()


@pytest.mark.parametrize("change", ["again", "edit"])
def test_a_change_that_fails_or_is_cancelled_early_leaves_all_as_it_was(change: str) -> None:
    conversation = talked("Hello", "Bye", n_ctx=60)

    def asked(text: str) -> object:
        return conversation.edit(1, text) if change == "edit" else conversation.again(stops=[text])

    before = said(conversation)
    turn = conversation.edit(1, "Other") if change == "edit" else conversation.again()
    turn.cancel()
    list(turn)
    assert said(conversation) == before
    if change == "edit":
        with pytest.raises(ContextFullError):
            list(conversation.edit(1, "x" * 60))
    with pytest.raises(UsageError):
        conversation.again(stops=[""])
    assert said(conversation) == before


def test_a_cancelled_regeneration_keeps_what_it_said() -> None:
    conversation = talked("Bye")
    turn = conversation.again()
    for _ in range(3):
        next(turn)
    turn.cancel()
    list(turn)
    assert said(conversation) == ["Bye", "See"]


def test_a_turn_that_was_left_in_the_middle_ends_before_an_undo() -> None:
    conversation = talked("Hello")
    turn = conversation.say("Bye")
    next(turn)
    assert conversation.undo()
    assert said(conversation) == ["Hello", "Hi!"]


def test_a_reset_can_be_taken_back() -> None:
    conversation = talked("Hello")
    conversation.reset("Be brief.")
    assert conversation.system == "Be brief."
    assert conversation.undo()
    assert said(conversation) == ["Hello", "Hi!"]
    assert conversation.system is None


def test_what_was_restored_can_be_taken_back_too() -> None:
    conversation = talked("Hello")
    conversation.restore([Message("system", "S"), Message("user", "A"), Message("assistant", "B")])
    assert conversation.undo()
    assert said(conversation) == ["S"]
    assert not conversation.undo()


def test_another_speaker_goes_on_with_the_conversation() -> None:
    conversation = talked("Hello")
    conversation.speaker = SoloSpeaker(saying({"Bye\n": "Ciao"}), FORMATS["plain"])
    list(conversation.say("Bye"))
    assert said(conversation) == ["Hello", "Hi!", "Bye", "Ciao"]


# Long ones


def fits_in(n: int) -> object:
    return lambda messages: sum(len(message.content) for message in messages) <= n


def of(*texts: str) -> list[Message]:
    roles: dict[str, Any] = {"s": "system", "q": "user", "a": "assistant"}
    return [Message(roles[text[0]], text) for text in texts]


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (100, "s q1 a1 q2 a2 q3 a3"),
        (13, "s q1 a1 q2 a2 q3 a3"),
        (12, "s q2 a2 q3 a3"),
        (9, "s q2 a2 q3 a3"),
        (8, "s q3 a3"),
        (4, "s"),
        (0, "s q1 a1 q2 a2 q3 a3"),
    ],
)
def test_the_oldest_turns_are_dropped_whole_and_no_more_than_needed(room: int, kept: str) -> None:
    messages = of("s", "q1", "a1", "q2", "a2", "q3", "a3")
    found, dropped = split(messages, fits_in(room))  # type: ignore[arg-type]
    assert [message.content for message in found] == kept.split()
    rest = [m for m in messages if m not in found]
    assert dropped == rest


def test_a_conversation_is_trimmed_and_says_what_it_dropped() -> None:
    conversation = talked("Hello", "Bye", "Again", system="S")
    gone = conversation.trim(fits_in(20))  # type: ignore[arg-type]
    assert [message.content for message in gone] == ["Hello", "Hi!"]
    assert said(conversation) == ["S", "Bye", "See you", "Again", "Ok"]
    gone = conversation.trim(fits_in(10))  # type: ignore[arg-type]
    assert [m.content for m in conversation.dropped] == ["Hello", "Hi!", "Bye", "See you"]
    assert conversation.trim(fits_in(10)) == []  # type: ignore[arg-type]
    assert conversation.undo()
    assert said(conversation) == ["S", "Bye", "See you", "Again", "Ok"]


def test_room() -> None:
    conversation = talked("Hello", "Bye", n_ctx=40)
    room = room_of(conversation.speaker, conversation.messages)
    # The plain format ends with a line's end, where the next message begins.
    assert room.n_ctx == 40
    assert room.used == conversation.speaker.count(conversation.messages)
    assert room.last == room.used - conversation.speaker.count(conversation.messages[:2])
    assert room.left == 40 - room.used
    assert room_of(conversation.speaker, []) == Room(0, 40)
    assert room_of(conversation.speaker, [Message("system", "S")]).last == 0


@pytest.mark.parametrize(
    ("used", "last", "near", "tight"),
    [(89, 11, False, False), (90, 10, True, False), (89, 12, False, True), (120, 1, True, True)],
)
def test_a_full_context_is_seen_before_it_happens(
    used: int, last: int, near: bool, tight: bool
) -> None:
    room = Room(used, 100, last)
    assert (room.is_near, room.may_not_fit) == (near, tight)


def test_a_reply_is_left_room_but_not_most_of_the_context() -> None:
    assert reserve(1024, 100) == 100
    assert reserve(1024, 4000) == 256
