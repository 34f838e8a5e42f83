"""Systems that answer side by side: each its own reply, one stop for all, nothing asked twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.threads import Crew
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, ContextFullError, EdgeproxyError
from edgeproxy.measure.answering import Answering, Ask
from edgeproxy.measure.evaluate import Question
from edgeproxy.prompts.formats import plain
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.session.turn import Stats
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import LIKELY, FakeModel, constant, fake_vocab, saying

QUESTIONS = [Question(f"Q{n}?", ("x",)) for n in range(4)]
SYSTEMS = ("base", "expert", "proxy")
ASK = Ask(Sampling(), 10**9)


def answers(of: str) -> dict[str, str]:
    return {f"Q{n}?\n": f"\n{of} {n}\nand more" for n in range(len(QUESTIONS))}


class Closed:
    def close(self) -> None:
        """There is nothing to close."""


def session_of(proxy: FakeModel | None = None, **alone: FakeModel) -> Session:
    """A session whose models answer from tables; `made` are those asked alone so far."""
    trio = Trio(*(proxy or saying(answers("proxy")), saying({}), saying({})), Steering(0.0))
    vocab, role = trio.vocab, Role(Path("none.gguf"))

    def solo(name: str) -> SoloSpeaker:
        made.append(name)
        return SoloSpeaker(alone.get(name) or saying(answers(name)), plain)

    made: list[str] = []
    ends, drafter = vocab.end_of_generation, Drafter(trio, "off")
    session = Session(
        Recipe("fake", role, role, role),
        TrioSpeaker(trio, (plain,) * 3, (vocab,) * 3, ends, drafter=drafter),
        Closed(),
        solo,
        matches={},
        crew=Crew(1, 1, 1),
        memory=Estimate(0, 0, 0, 0, 0, 0),
    )
    session.made = made  # type: ignore[attr-defined]
    return session


def endless() -> FakeModel:
    """A model that never ends a reply, nor a context."""
    vocab = fake_vocab()
    return FakeModel(constant(np.eye(len(vocab))[ord("a")] * LIKELY), vocab=vocab, n_ctx=10**9)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_system_answers_every_question_in_order(workers: int) -> None:
    heard: list[tuple[str, int, str]] = []
    shown: list[tuple[int, int]] = []
    work = Answering(session_of(), SYSTEMS, QUESTIONS, ASK, heard=lambda *one: heard.append(one))
    found = work.run(workers, lambda *one: shown.append(one))
    assert found == {name: [f"{name} {n}" for n in range(4)] for name in SYSTEMS}
    assert list(found) == list(SYSTEMS)
    assert sorted(heard) == sorted((s, n, f"{s} {n}") for s in SYSTEMS for n in range(4))
    assert {total for _, total in shown} == {12}


def test_what_is_known_is_not_asked_again() -> None:
    known = {("base", n): f"known {n}" for n in range(4)} | {("proxy", 2): "known 2"}
    heard: list[tuple[str, int]] = []

    def note(system: str, number: int, _text: str) -> None:
        heard.append((system, number))

    session = session_of()
    found = Answering(session, SYSTEMS, QUESTIONS, ASK, known, note).run(2)
    assert found["base"] == [f"known {n}" for n in range(4)]
    assert found["proxy"] == ["proxy 0", "proxy 1", "known 2", "proxy 3"]
    assert session.made == ["expert"]  # type: ignore[attr-defined]
    assert sorted(heard) == [*(("expert", n) for n in range(4)), *(("proxy", n) for n in (0, 1, 3))]
    assert ("base", 0) in known


def test_a_stop_ends_all_whoever_begins_a_reply_meanwhile() -> None:
    """One talks without end while another one begins replies, which must not take the stop back."""
    session = session_of(base=endless(), expert=endless())
    heard: list[str] = []

    def stop(system: str, _number: int, _text: str) -> None:
        heard.append(system)
        if len(heard) == 2:
            work.stop()

    work = Answering(session, SYSTEMS, QUESTIONS, ASK, heard=stop)
    with pytest.raises(Cancelled):
        work.run(3)
    assert heard == ["proxy", "proxy"]
    with pytest.raises(Cancelled):
        work.run(3)
    # The session itself is none the worse.
    assert Answering(session, ("proxy",), QUESTIONS, ASK).run(1)["proxy"][0] == "proxy 0"


def test_a_stop_before_anything_began() -> None:
    session = session_of()
    work = Answering(session, SYSTEMS, QUESTIONS, ASK)
    work.stop()
    with pytest.raises(Cancelled):
        work.run(2)


def test_a_reply_that_somebody_cancels_is_no_answer() -> None:
    vocab = fake_vocab()

    def cancelling(history: Sequence[int]) -> NDArray[np.float32]:
        if len(history) > 9:
            session.solo("base").floor.cancel()
        row = np.zeros(len(vocab), np.float32)
        row[ord("a")] = LIKELY
        return row

    session = session_of(base=FakeModel(cancelling, vocab=vocab))
    heard: list[str] = []
    with pytest.raises(Cancelled):
        Answering(session, ("base",), QUESTIONS, ASK, heard=lambda s, *_: heard.append(s)).run(1)
    assert heard == []


def test_a_system_that_fails_ends_the_others() -> None:
    session = session_of(base=endless(), expert=saying(answers("expert"), n_ctx=2))
    with pytest.raises(ContextFullError):
        Answering(session, SYSTEMS, QUESTIONS, ASK).run(3)


def test_what_cannot_be_kept_ends_all() -> None:
    def full(_system: str, _number: int, _text: str) -> None:
        raise EdgeproxyError("the disk is full")

    with pytest.raises(EdgeproxyError, match="disk is full"):
        Answering(session_of(base=endless()), SYSTEMS, QUESTIONS, ASK, heard=full).run(3)


def test_it_is_heard_one_at_a_time() -> None:
    inside = threading.Lock()

    def note(_system: str, _number: int, _text: str) -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.001)
        inside.release()

    Answering(session_of(), SYSTEMS, QUESTIONS, ASK, heard=note).run(3)


def test_variants_of_the_proxy_are_its_own_and_answer_in_turn() -> None:
    systems = ("base", "proxy", "proxy/alpha=0", "proxy/alpha=0.5")
    session = session_of()
    heard: list[str] = []
    work = Answering(
        session, systems, QUESTIONS, ASK, heard=lambda system, *_: heard.append(system)
    )
    found = work.run(3)
    assert list(found) == list(systems)
    assert found["proxy/alpha=0"] == [f"proxy {n}" for n in range(4)]
    of_proxy = [system for system in heard if system != "base"]
    assert of_proxy == [system for system in systems[1:] for _ in range(4)]
    assert session.made == ["base"]  # type: ignore[attr-defined]


def test_questions_outside_of_the_task_are_asked_of_some() -> None:
    questions = [QUESTIONS[0], replace(QUESTIONS[1], is_general=True)]
    found = Answering(session_of(), SYSTEMS, questions, ASK).run(2)
    assert found == {
        "base": ["base 0", "base 1"],
        "expert": ["expert 0"],
        "proxy": ["proxy 0", "proxy 1"],
    }


def test_a_reply_ends_as_its_judge_wants() -> None:
    said = {"J?\n": 'So:\n{"a": 1}\n{"a": 2}', "E?\n": "\none\ntwo\n", "L?\n": "one\ntwo"}
    questions = [
        Question("J?", ('{"a": 1}',), judge="json"),
        Question("E?", ("one",), judge="exact"),
        Question("L?", ("one",)),
    ]
    session = session_of(base=saying(said))
    (texts,) = Answering(session, ("base",), questions, Ask(Sampling())).run(1).values()
    assert texts == ['So:\n{"a": 1}', "one\ntwo", "one"]


def test_a_question_can_be_asked_of_all_variants_before_the_next_one() -> None:
    """Each begins with another one, and the prompt is read once."""
    systems = ("proxy", "proxy/alpha=0.5", "proxy/alpha=1")
    session = session_of()
    heard: list[tuple[str, int]] = []
    took: list[tuple[str, int, int]] = []

    def note(system: str, number: int, text: str) -> None:
        assert took[-1] == (system, number, len(f"\n{text}\n"))
        heard.append((system, number))

    def note_took(system: str, number: int, stats: Stats) -> None:
        took.append((system, number, stats.tokens))

    known = {("proxy/alpha=0.5", 2): "known"}
    work = Answering(
        session, systems, QUESTIONS, ASK, known, note, took=note_took, by_question=True
    )
    found = work.run(1)
    plain, half, one = systems
    assert heard == [
        *((plain, 0), (half, 0), (one, 0)),
        *((half, 1), (one, 1), (plain, 1)),
        *((one, 2), (plain, 2)),
        *((plain, 3), (half, 3), (one, 3)),
    ]
    assert found[half] == ["proxy 0", "proxy 1", "known", "proxy 3"]
    base = session.trio.base
    assert isinstance(base, FakeModel)
    assert sum(ord("?") in tokens for tokens in base.evals) == len(QUESTIONS)


def test_the_trio_s_own_setting_is_the_session_s() -> None:
    """Also where the speaker began with another one, as one that is made for a lane may."""
    session = session_of(saying(answers("proxy")))
    trio = Trio(saying(answers("base")), saying(answers("proxy")), saying({}), Steering(3.0))
    vocab = trio.vocab
    drafter = Drafter(trio, "off")
    other = TrioSpeaker(trio, (plain,) * 3, (vocab,) * 3, vocab.end_of_generation, drafter=drafter)
    work = Answering(session, ("proxy",), QUESTIONS[:1], ASK)
    work._answer_one(other, "proxy", 0)
    assert work._replies == {("proxy", 0): "base 0"}
