"""Turns: a reply owns its settings and its cancel, and never mixes with another one."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.threads import Crew
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import (
    BusyError,
    ContextFullError,
    EngineError,
    PromptError,
    UsageError,
)
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.load import load
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.session.turn import Turn, Usage
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import FakeModel, fake_vocab, random_trio, saying

PLAIN = FORMATS["plain"]
REPLIES = {"Hello\n": "Hi, how are you?", "Bye\n": "See you soon."}


class Files:
    """What a session closes."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def session_of(trio: Trio, draft: Draft = "off") -> Session:
    """A session of parts, without files."""
    from pathlib import Path

    vocab, role = trio.vocab, Role(Path("none.gguf"))
    speaker = TrioSpeaker(
        trio, (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation, drafter=Drafter(trio, draft)
    )
    return Session(
        Recipe("fake", role, role, role),
        speaker,
        Files(),
        lambda _role: SoloSpeaker(saying(REPLIES), PLAIN),
        matches={},
        crew=Crew(1, 1, 1),
        memory=Estimate(0, 0, 0, 0, 0, 0),
    )


def trio_saying(replies: Mapping[str, str] = REPLIES, n_ctx: int = 4096) -> Trio:
    base, expert, anti_expert = (saying(replies, n_ctx=n_ctx) for _ in range(3))
    return Trio(base, expert, anti_expert)


@pytest.fixture(params=["off", "auto"])
def session(request: pytest.FixtureRequest) -> Session:
    return session_of(trio_saying(), request.param)


def text_of(turn: Turn) -> str:
    return "".join(piece.text for piece in turn)


# One at a time


def test_a_later_reply_of_the_same_thread_ends_the_older_one(session: Session) -> None:
    older = session.reply("Hello")
    next(older)
    assert text_of(session.reply("Bye")) == "See you soon."
    for _ in range(2):
        with pytest.raises(BusyError, match="a later reply has begun"):
            next(older)
    assert older.finish_reason is None


def test_a_reply_that_has_not_begun_takes_nothing(session: Session) -> None:
    waiting = session.reply("Bye")
    assert text_of(session.reply("Hello")) == "Hi, how are you?"
    assert text_of(waiting) == "See you soon."


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def error_in_thread(work: Callable[[], object]) -> BaseException | None:
    """What `work` raises in a thread of its own."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    in_thread(guarded).join()
    return raised[0] if raised else None


def test_while_another_threads_reply_is_under_way_the_models_are_busy(session: Session) -> None:
    turn = session.reply("Hello")
    said = next(turn).text
    late = session.reply("Bye")
    assert isinstance(error_in_thread(lambda: next(late)), BusyError)
    assert said + text_of(turn) == "Hi, how are you?"
    # It had not begun, so it may be asked again.
    said_late: list[str] = []
    assert error_in_thread(lambda: said_late.append(text_of(late))) is None
    assert said_late == ["See you soon."]


def test_a_reply_may_wait_for_the_other_threads(session: Session) -> None:
    turn = session.reply("Hello")
    next(turn)
    said: list[str] = []
    waiting = in_thread(lambda: said.append(text_of(session.reply("Bye", wait=True))))
    time.sleep(0.1)
    assert said == []
    list(turn)
    waiting.join()
    assert said == ["See you soon."]


def test_a_reply_that_waits_can_be_cancelled(session: Session) -> None:
    turn = session.reply("Hello")
    next(turn)
    late = session.reply("Bye", wait=True)
    ends: list[str | None] = []
    waiting = in_thread(lambda: ends.extend(piece.finish_reason for piece in late))
    late.cancel()
    waiting.join()
    assert ends == ["cancelled"]
    assert list(turn)[-1].finish_reason == "stop"


def test_a_reply_that_a_thread_left_when_it_ended_is_given_up(session: Session) -> None:
    left = session.reply("Hello")
    in_thread(lambda: next(left)).join()
    assert text_of(session.reply("Bye")) == "See you soon."
    with pytest.raises(BusyError):
        next(left)


class Slow:
    """A trio whose base evaluates until it may go on."""

    def __init__(self) -> None:
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.trio = Trio(FakeModel(self._row), FakeModel(), FakeModel())

    def _row(self, history: Sequence[int]) -> NDArray[np.float32]:
        self.reading.set()
        self.go_on.wait(10)
        return np.zeros(260, np.float32)


def test_one_reply_is_read_in_one_thread_at_a_time() -> None:
    slow = Slow()
    turn = session_of(slow.trio).reply("Hello", max_tokens=1)
    thread = in_thread(lambda: list(turn))
    slow.reading.wait(10)
    with pytest.raises(BusyError, match="in another thread"):
        next(turn)
    turn.close()  # cancels it; it ends in its own thread
    slow.go_on.set()
    thread.join()
    assert turn.finish_reason in ("cancelled", "length")


@pytest.mark.parametrize("draft", ["off", "auto"])
@pytest.mark.parametrize("wait", [False, True])
def test_two_threads_never_get_each_others_text(draft: Draft, wait: bool) -> None:
    session = session_of(trio_saying(), draft)
    got: list[tuple[str, str]] = []

    def ask(question: str) -> None:
        for _ in range(20):
            try:
                got.append((question, text_of(session.reply(question, wait=wait))))
            except BusyError:
                got.append((question, "busy"))

    threads = [in_thread(lambda q=q: ask(q)) for q in ("Hello", "Bye")]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    allowed = {("Hello", REPLIES["Hello\n"]), ("Bye", REPLIES["Bye\n"])}
    if not wait:
        allowed |= {("Hello", "busy"), ("Bye", "busy")}
    assert len(got) == 40
    assert set(got) <= allowed


def test_a_forgotten_reply_gives_the_models_back(session: Session) -> None:
    gc.disable()
    try:
        next(session.reply("Hello"))
        said: list[str] = []
        assert error_in_thread(lambda: said.append(text_of(session.reply("Bye")))) is None
        assert said == ["See you soon."]
    finally:
        gc.enable()


def test_a_reply_closed_between_two_pieces_of_a_draft_leaves_no_draft_behind() -> None:
    trio = trio_saying()
    session = session_of(trio, "expert")
    with session.reply("Hello") as turn:
        for _ in range(5):
            next(turn)
    assert len({model.n_past for model in trio.models}) == 1
    with pytest.raises(StopIteration):
        next(turn)


# Cancelling


def test_cancelling_before_the_first_piece_evaluates_nothing(session: Session) -> None:
    turn = session.reply("Hello")
    turn.cancel()
    pieces = list(turn)
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "cancelled")]
    base = session.trio.base
    assert isinstance(base, FakeModel)
    assert base.evals == []
    assert text_of(session.reply("Bye")) == "See you soon."


def test_cancelling_the_session_reaches_replies_that_have_not_begun(session: Session) -> None:
    turn = session.reply("Hello")
    session.cancel()
    assert [piece.finish_reason for piece in turn] == ["cancelled"]
    assert text_of(session.reply("Bye")) == "See you soon."


def test_cancelling_one_reply_leaves_the_others_alone(session: Session) -> None:
    cancelled, other = session.reply("Hello"), session.reply("Bye")
    cancelled.cancel()
    assert text_of(other) == "See you soon."
    assert text_of(cancelled) == ""


def test_a_cancel_of_the_trio_does_not_reach_a_model_that_answers_alone(session: Session) -> None:
    alone = session.solo("base").reply([Message("user", "Hello")])
    next(alone)
    turn = session.reply("Bye")
    turn.cancel()
    assert text_of(turn) == ""
    assert list(alone)[-1].finish_reason == "stop"


def test_cancelling_the_session_reaches_models_that_answer_alone(session: Session) -> None:
    alone = session.solo("base").reply([Message("user", "Hello")])
    next(alone)
    session.cancel()
    assert [piece.finish_reason for piece in alone][-1] == "cancelled"


# Its own settings


def test_a_reply_has_its_own_alpha_and_mask() -> None:
    session = session_of(random_trio(0.5, 0.01))
    seen: list[tuple[float, float]] = []

    def settings(turn: Turn) -> tuple[float, float]:
        next(turn)
        turn.close()
        return session.trio.steering.alpha, session.trio.steering.plausibility

    for alpha, beta in ((None, None), (2.0, 0.5), (None, 0.2), (0.0, None), (None, None)):
        seen.append(settings(session.reply("Hello", alpha=alpha, plausibility=beta)))
    assert seen == [(0.5, 0.01), (2.0, 0.5), (0.5, 0.2), (0.0, 0.01), (0.5, 0.01)]
    assert (session.alpha, session.plausibility) == (0.5, 0.01)


def test_a_sessions_alpha_changed_in_mid_reply_is_the_next_ones() -> None:
    session = session_of(random_trio(0.5))
    turn = session.reply("Hello", max_tokens=3)
    next(turn)
    session.alpha = 2.0
    next(turn)
    assert session.trio.steering.alpha == 0.5
    list(turn)
    next(session.reply("Hello"))
    assert session.trio.steering.alpha == 2.0


# What it took


def test_usage_and_stats_are_the_replys_own(session: Session) -> None:
    turn = session.reply("Hello")
    assert turn.usage == Usage(0, 0, 0)
    said = text_of(turn)
    assert (turn.text, turn.finish_reason) == (said, "stop")
    assert turn.usage == Usage(len("Hello\n"), 0, len(said) + 1)
    again = session.reply("Hello")
    list(again)
    assert again.usage.kept == len("Hello\n") - 1  # a token is left, for a row to draw from
    stats = turn.stats
    assert stats.tokens == len(said) + 1
    assert 0.0 <= stats.first_seconds <= stats.seconds
    assert stats.tokens_per_second is None or stats.tokens_per_second > 0.0
    assert stats == turn.stats
    if session.drafter.mode == "auto":
        assert stats.drafted is not None
        assert stats.drafted.tokens == stats.tokens - 1 or stats.drafted.tokens == stats.tokens


def test_what_each_model_said_is_recorded(session: Session) -> None:
    turn = session.reply("Hello", record=3)
    pieces = list(turn)
    assert [step.token for step in turn.steps] == [piece.token for piece in pieces]
    for step, piece in zip(turn.steps, pieces, strict=True):
        assert step.fused.chosen.logprob == pytest.approx(piece.logprob, abs=1e-5)
        for opinion in (step.base, step.expert, step.anti_expert, step.fused):
            assert len(opinion.best) == 3
            assert opinion.best[0].token == step.token
            logprobs = [scored.logprob for scored in opinion.best]
            assert logprobs == sorted(logprobs, reverse=True)
            assert sum(np.exp(logprobs)) <= 1.0 + 1e-6
    assert session.reply("Hello").steps == ()


def test_tokens_that_the_mask_leaves_out_are_not_among_the_best() -> None:
    session = session_of(random_trio(1.0, 0.9))
    turn = session.reply("Hello", record=50, max_tokens=2)
    list(turn)
    assert all(0 < len(step.fused.best) < 50 for step in turn.steps)
    assert all(len(step.base.best) == 50 for step in turn.steps)


# Arguments


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"alpha": "1"}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"plausibility": 2}, "plausibility"),
        ({"record": -1}, "record"),
        ({"record": 1.0}, "record"),
        ({"stops": [""]}, "stop string"),
        ({"stops": [5]}, "stop string"),
        ({"stops": 5}, "stops"),
        ({"stops": b"and"}, "stops"),
        ({"sampling": {"temperature": 1}}, "sampling"),
    ],
)
def test_impossible_arguments_are_named_at_once(
    session: Session, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        session.reply("Hello", **settings)


@pytest.mark.parametrize(
    "messages",
    [
        "",
        "  ",
        [],
        None,
        5,
        b"Hello",
        {"role": "user", "content": "Hello"},
        ["Hello"],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "Hello", "name": "me"}],
        [{"role": "robot", "content": "Hello"}],
        [Message("user", "Hello"), None],
    ],
)
def test_what_is_no_conversation_is_refused(session: Session, messages: Any) -> None:
    with pytest.raises(PromptError):
        session.reply(messages)


def test_one_text_is_one_stop_string(session: Session) -> None:
    assert text_of(session.reply("Hello", stops="how")) == "Hi, "
    assert text_of(session.reply("Hello", stops=["you", "are"])) == "Hi, how "


def test_dicts_of_role_and_content_are_messages(session: Session) -> None:
    assert text_of(session.reply([{"role": "user", "content": "Hello"}])) == "Hi, how are you?"


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": "0.7"},
        {"temperature": None},
        {"top_k": 2.5},
        {"seed": 1.0},
        {"logit_bias": {"5": 1.0}},
        {"logit_bias": [(5, 1.0)]},
        {"logit_bias": {5: "1"}},
        {"repeat_last_n": True},
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sampling(**settings)


@pytest.mark.parametrize("settings", [{"alpha": 0.5}, {"plausibility": 0.1}, {"record": 1}])
def test_what_is_for_a_trio_is_refused_of_one_model_alone(
    session: Session, settings: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="for a trio"):
        session.solo("base").reply([Message("user", "Hello")], **settings)


# Closing


def test_a_closed_session_ends_its_replies_and_refuses_more(session: Session) -> None:
    turn = session.reply("Hello")
    next(turn)
    solo = session.solo("base")
    session.close()
    session.close()
    uses: list[Callable[[], object]] = [
        lambda: next(turn),
        lambda: list(session.reply("Bye")),
        lambda: session.solo("base"),
        lambda: session.solo("expert"),
        lambda: list(solo.reply([Message("user", "Hello")])),
        lambda: session.cache_prompt("Be brief.", "nowhere"),
    ]
    for use in uses:
        with pytest.raises(EngineError, match="closed"):
            use()


def test_a_session_is_freed_with_its_last_reference() -> None:
    gc.disable()
    try:
        session: Session | None = session_of(trio_saying(), "auto")
        assert session is not None
        alive: list[weakref.ref[Any]] = [
            weakref.ref(session),
            weakref.ref(session.trio),
            weakref.ref(session.speaker),
        ]
        conversation = session.conversation("Be brief.")
        list(conversation.say("Hello"))
        turn = session.reply("Hello", record=2)
        next(turn)
        list(session.solo("base").reply([Message("user", "Hello")]))
        del session, turn, conversation
        assert [reference() for reference in alive] == [None, None, None]
    finally:
        gc.enable()


def test_closing_waits_for_the_step_under_way_in_another_thread() -> None:
    slow = Slow()
    session = session_of(slow.trio)
    turn = session.reply("Hello", max_tokens=5)
    reader = in_thread(lambda: error_in_thread(lambda: list(turn)))
    slow.reading.wait(10)
    closer = in_thread(session.close)
    time.sleep(0.05)
    assert closer.is_alive()
    slow.go_on.set()
    closer.join()
    reader.join()
    assert len(turn.text) <= 2


# In a conversation


def test_an_empty_reply_stays_in_the_conversation(session: Session) -> None:
    conversation = session.conversation()
    assert text_of(conversation.say("Nothing known")) == ""
    assert [(m.role, m.content) for m in conversation.messages] == [
        ("user", "Nothing known"),
        ("assistant", ""),
    ]


def test_a_cancelled_reply_that_said_nothing_leaves_the_conversation_as_it_was(
    session: Session,
) -> None:
    conversation = session.conversation()
    turn = conversation.say("Hello")
    turn.cancel()
    list(turn)
    assert conversation.messages == []


def test_half_a_character_is_not_kept_in_a_conversation() -> None:
    conversation = session_of(trio_saying({"Hello\n": "5 €"})).conversation()
    list(conversation.say("Hello", max_tokens=4))
    assert conversation.messages[-1].content == "5 "


def test_a_turn_that_was_left_in_the_middle_ends_where_the_next_is_said(session: Session) -> None:
    conversation = session.conversation()
    older = conversation.say("Bye")
    next(older)
    assert text_of(conversation.say("Hello")) == "Hi, how are you?"
    assert list(older) == []
    said = [message.content for message in conversation.messages]
    assert said == ["Bye", "S", "Hello", "Hi, how are you?"]


def test_an_older_turn_that_ends_late_undoes_nothing(session: Session) -> None:
    conversation = session.conversation()
    older = conversation.say("Bye")
    next(older)
    conversation.reset()
    older.close()
    assert conversation.messages == []


def test_a_turn_that_does_not_fit_leaves_the_conversation_as_it_was() -> None:
    conversation = Conversation(session_of(trio_saying(n_ctx=20)).speaker)
    with pytest.raises(ContextFullError):
        list(conversation.say("x" * 30))
    assert conversation.messages == []


KEPT = "edgeproxy-tokenize"
"""A process keeps one such thread, which begins when a vocabulary first needs it."""


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert left in ([], [KEPT])


def test_fakes_have_the_vocabulary_that_is_counted_on() -> None:
    assert len(fake_vocab()) == 260


# The trios that ship


@pytest.mark.weights
@pytest.mark.parametrize("draft", ["off", "auto"])
@pytest.mark.parametrize("name", ["factbook", "factbook-phi"])
def test_two_threads_on_a_shipped_trio_never_get_each_others_text(name: str, draft: Draft) -> None:
    questions = ("What is the capital of Peru?", "Which currency do shops in Chile take?")
    with load(name, draft=draft) as session:
        right = {q: text_of(session.reply(q, max_tokens=40)) for q in questions}
        assert len(set(right.values())) == 2
        got: list[tuple[str, str]] = []

        def ask(question: str) -> None:
            for _ in range(20):
                try:
                    got.append((question, text_of(session.reply(question, max_tokens=40))))
                except BusyError:
                    got.append((question, "busy"))

        threads = [in_thread(lambda q=q: ask(q)) for q in questions]  # type: ignore[misc]
        for thread in threads:
            thread.join()
    assert len(got) == 40
    assert all(said in (right[question], "busy") for question, said in got)
    assert {said for _, said in got} & set(right.values())
