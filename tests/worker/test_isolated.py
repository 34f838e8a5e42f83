"""An isolated session does what a session does, over a worker of fakes."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import (
    BusyError,
    Cancelled,
    ContextFullError,
    EngineError,
    ModelFileError,
    PromptError,
    UsageError,
    WorkerError,
)
from edgeproxy.explain import explain
from edgeproxy.prompts.formats import Message
from edgeproxy.session.overflow import room_of
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Turn
from edgeproxy.worker.calls import Patience
from edgeproxy.worker.isolated import IsolatedSession
from edgeproxy.worker.keeper import Keeper
from edgeproxy.worker.speaker import AHEAD
from tests.helpers.fake_worker import REPLIES, fake_load, isolated


@pytest.fixture(scope="module")
def session() -> Iterator[IsolatedSession]:
    with isolated() as made:
        yield made
        assert made.starts == 1, "a test that ends the worker has one of its own"


@pytest.fixture(scope="module")
def plain() -> Iterator[Session]:
    """The same without a process of its own."""
    with fake_load() as made:
        yield made


QUICK = Patience(silent=5.0, idle=5.0, heedless=0.2)


def text_of(turn: Turn) -> str:
    return "".join(piece.text for piece in turn)


def public(kind: type) -> dict[str, object]:
    return {n: inspect.getattr_static(kind, n) for n in dir(kind) if not n.startswith("_")}


def test_it_has_all_that_a_session_has_with_the_same_arguments() -> None:
    own, theirs = public(IsolatedSession), public(Session)
    assert theirs.keys() <= own.keys()
    for name, value in theirs.items():
        if inspect.isfunction(value):
            assert inspect.signature(own[name]) == inspect.signature(value), name  # type: ignore[arg-type]
        else:
            assert type(own[name]) is type(value), name


def test_a_reply_is_the_same(session: IsolatedSession, plain: Session) -> None:
    ways: list[dict[str, Any]]
    ways = [{}, {"max_tokens": 3}, {"stops": "how"}, {"record": 2}, {"alpha": 0.5}]
    for how in ways:
        here, there = plain.reply("Hello", **how), session.reply("Hello", **how)
        assert list(there) == list(here)
        assert there.text == here.text
        assert there.finish_reason == here.finish_reason
        assert there.usage._replace(kept=0) == here.usage._replace(kept=0)
        assert there.steps == here.steps
        assert there.stats.drafted == here.stats.drafted
        assert there.stats.tokens == here.stats.tokens
        assert there.stats.changed == here.stats.changed
        assert there.stats.seconds > 0.0
        assert there._record.took == (there.stats.first_seconds, there.stats.seconds)


def test_what_it_says_of_itself_is_the_same(session: IsolatedSession, plain: Session) -> None:
    for name in ("recipe", "alone", "n_ctx", "memory", "doubts", "steering", "sampling", "alpha"):
        assert getattr(session, name) == getattr(plain, name), name
    for name in ("tokens", "kinds", "bos", "end_of_generation", "named"):
        assert getattr(session.vocab, name) == getattr(plain.vocab, name), name
    assert session.vocab.piece(72) == b"H"


def test_conversations_are_here(session: IsolatedSession) -> None:
    talk = session.conversation()
    assert text_of(talk.say("Hello")) == "Hi, how are you?"
    assert text_of(talk.say("Bye")) == "See you soon."
    assert [m.content for m in talk.messages] == [
        "Hello",
        "Hi, how are you?",
        "Bye",
        "See you soon.",
    ]


def test_tokens_are_counted_and_prompts_tell_how_far_they_are(
    session: IsolatedSession, plain: Session
) -> None:
    messages = [Message("user", "Hello")]
    assert session.speaker.count(messages) == plain.speaker.count(messages) > 0
    assert session.speaker.endings == plain.speaker.endings
    told: list[tuple[int, int]] = []
    list(session.reply("Good day", progress=lambda done, total: told.append((done, total))))
    assert told
    assert told[0][0] == 0
    room = room_of(session.speaker, messages)
    assert room == room_of(plain.speaker, messages)


def test_tokens_are_counted_while_a_reply_is_paused(session: IsolatedSession) -> None:
    turn = session.reply("Long", max_tokens=200)
    next(turn)
    assert session.speaker.count([Message("user", "Hello")]) > 0
    assert session.solo("anti_expert").n_ctx > 0
    assert len(text_of(turn)) == 199


def test_a_conversation_is_taken_back_and_edited(session: IsolatedSession) -> None:
    talk = session.conversation()
    list(talk.say("Hello"))
    assert text_of(talk.edit(1, "Bye")) == "See you soon."
    assert talk.undo()
    assert [m.content for m in talk.messages] == ["Hello", "Hi, how are you?"]
    assert text_of(talk.again()) == "Hi, how are you?"


def test_a_reply_is_explained_alike(session: IsolatedSession, plain: Session) -> None:
    here, there = (each.reply("Hello", record=3) for each in (plain, session))
    list(here), list(there)
    assert explain(there, session) == explain(here, plain)


def test_solos_and_others_answer_too(session: IsolatedSession) -> None:
    solo = session.solo("expert")
    assert solo is session.solo("expert")
    assert text_of(solo.reply("Hello")) == "Hi, how are you?"
    other = session.another()
    assert other is not session.another()
    assert text_of(other.reply("Bye")) == "See you soon."
    with pytest.raises(UsageError, match="steering is for a trio"):
        solo.reply("Hello", alpha=2.0)
    with pytest.raises(UsageError, match="record is for a trio"):
        solo.reply("Hello", record=2)


def test_steering_is_set_here_and_checked_at_once(session: IsolatedSession) -> None:
    session.alpha = 2.0
    assert session.reply("Hello").asked.steering == Steering(2.0)
    session.steering = Steering()
    with pytest.raises(UsageError, match="alpha"):
        session.alpha = float("nan")
    with pytest.raises(UsageError, match="max_tokens"):
        session.reply("Hello", max_tokens=0)
    with pytest.raises(UsageError, match="record"):
        session.reply("Hello", record=100_000)
    with pytest.raises(PromptError):
        session.reply([])


def test_what_needs_the_models_says_so(session: IsolatedSession) -> None:
    for name in ("trio", "drafter", "trio_speaker"):
        with pytest.raises(UsageError, match="in a process of their own"):
            getattr(session, name)


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("engine error", EngineError, "the engine has failed"),
        ("file error", ModelFileError, r"a\.gguf: it is damaged"),
        ("memory", MemoryError, None),
    ],
)
def test_an_error_comes_as_what_it_is(
    session: IsolatedSession, what: str, error: type[Exception], says: str | None
) -> None:
    with pytest.raises(error, match=says) as caught:
        list(session.reply(f"do {what}"))
    assert not isinstance(caught.value, WorkerError)
    if isinstance(caught.value, ModelFileError):
        assert (caught.value.path, caught.value.what) == ("a.gguf", "it is damaged")
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_a_prompt_that_does_not_fit_is_the_same_error(session: IsolatedSession) -> None:
    with pytest.raises(ContextFullError):
        list(session.reply("x" * 5000))
    with pytest.raises(PromptError, match="surrogate"):
        list(session.reply("\ud800"))


def test_all_characters_come_over_whole(session: IsolatedSession) -> None:
    text = "".join(map(chr, [*range(1, 0xD800, 7), *range(0xE000, 0x110000, 997)]))
    with pytest.raises((ContextFullError, PromptError)):
        list(session.reply(text))
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_what_a_library_prints_is_no_message(session: IsolatedSession) -> None:
    list(session.reply("do print", max_tokens=3))
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_a_reply_is_cancelled_before_its_first_piece(session: IsolatedSession) -> None:
    turn = session.reply("Hello")
    turn.cancel()
    (piece,) = turn
    assert (piece.text, piece.finish_reason) == ("", "cancelled")


def test_a_reply_is_cancelled_in_the_middle(session: IsolatedSession) -> None:
    turn = session.reply("Long", max_tokens=4000)
    said = next(turn).text + next(turn).text
    turn.cancel()
    last = list(turn)[-1]
    assert last.finish_reason == "cancelled"
    assert turn.text == said
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_a_reply_that_is_left_gives_the_models_back(session: IsolatedSession) -> None:
    turn = session.reply("Long", max_tokens=4000)
    next(turn)
    del turn
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_a_long_reply_is_made_as_it_is_taken(session: IsolatedSession) -> None:
    assert text_of(session.reply("Long", max_tokens=500)) == "x" * 500


def test_two_threads_are_busy_or_wait(session: IsolatedSession) -> None:
    turn = session.reply("Hello")
    next(turn)
    caught: list[BaseException] = []

    def busy() -> None:
        try:
            list(session.reply("Bye"))
        except BusyError as error:
            caught.append(error)

    thread = threading.Thread(target=busy)
    thread.start()
    thread.join()
    assert len(caught) == 1
    said: list[str] = []
    waiting = threading.Thread(target=lambda: said.append(text_of(session.reply("Bye", wait=True))))
    waiting.start()
    list(turn)
    waiting.join()
    assert said == ["See you soon."]


def test_sampling_and_messages_come_over(session: IsolatedSession) -> None:
    sampling = Sampling(temperature=0.5, seed=3, logit_bias={72: 1.0})
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello"}]
    assert text_of(session.reply(messages, sampling=sampling, max_tokens=4)) == "Hi, "


def test_progress_and_cancel_of_loading() -> None:
    told: list[tuple[str, float]] = []
    with isolated(progress=lambda what, share: told.append((what, share))):
        assert told == [("base", 0.5)]
    stop = Flag()
    stop.set()
    with pytest.raises((Cancelled, WorkerError)), isolated(QUICK, cancel=stop, misdeed="sleep"):
        pass


def test_once_closed_every_use_is_an_error() -> None:
    session = isolated()
    turn = session.reply("Long", max_tokens=4000)
    next(turn)
    pid = session.pid
    session.close()
    session.close()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for each in (session.reply("Hello"), turn):
        with pytest.raises(EngineError, match="closed"):
            next(each)
    with pytest.raises(EngineError, match="closed"):
        session.solo("base")


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be given to an isolated session"):
        isolated(strange=object())


def test_a_worker_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    keeper = Keeper({}, command=lambda: [str(tmp_path / "nothing")])
    with pytest.raises(WorkerError, match="cannot be started"):
        keeper.load(Flag())
    keeper = Keeper({}, command=list)
    with pytest.raises(WorkerError, match=r"edgeproxy\.worker\.main"):
        keeper.load(Flag())


@pytest.mark.parametrize("code", ["", "print('hello')", "import os; os.write(1, b'\\xff' * 99)"])
def test_a_process_that_is_no_worker_is_an_error(code: str) -> None:
    keeper = Keeper({}, command=lambda: [sys.executable, "-c", code])
    with pytest.raises(WorkerError, match="loaded the models"):
        keeper.load(Flag())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_cannot_use_it_and_does_not_end_it(session: IsolatedSession) -> None:
    child = os.fork()
    if child == 0:
        code = 0
        for use in (session.another, lambda: next(session.reply("Hello"))):
            try:
                use()
                code = 1
            except EngineError as error:
                code = code or int("forked" not in str(error))
        session._keeper.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        ["piece", 0, 5, 1, 0.5, None, None],
        ["piece", 0, "x"],
        ["piece", 0, "x", {"#": "Popen", "v": []}, 0.5, None, None],
        ["done", 0, None],
        ["failed", 0, ["SystemExit", "1"]],
        ["failed", 0, ["ModelFileError"]],
        ["what", 0],
    ],
)
def test_nonsense_is_an_error_and_the_next_call_goes_on(said: list[Any]) -> None:
    with isolated() as session:
        worker = session._keeper.ready(Flag())
        turn = session.reply("Long", max_tokens=4000)
        next(turn)
        number = max(worker._calls)
        worker._hear([said[0], number, *said[2:]])
        with pytest.raises(WorkerError, match="nonsense"):
            list(turn)
        assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_what_a_reader_does_not_take_is_not_made(session: IsolatedSession) -> None:
    turn = session.reply("Long", max_tokens=4000)
    worker = session._keeper.ready(Flag())
    came: list[str] = []
    hear = worker.process._heard

    def heard(message: list[str]) -> None:
        came.append(message[0])
        hear(message)

    worker.process._heard = heard
    next(turn)
    time.sleep(1.0)
    turn.cancel()
    assert came.count("piece") <= AHEAD + 1
    list(turn)
    worker.process._heard = hear


def test_all_replies_of_the_table_are_whole(session: IsolatedSession) -> None:
    for question, reply in REPLIES.items():
        assert text_of(session.reply(question.strip())) == reply
