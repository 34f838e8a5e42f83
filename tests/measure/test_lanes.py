"""Questions for a server, several at once: how many are open, what fails, what a stop does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.core.memory_free import Free
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import (
    Cancelled,
    EdgeproxyError,
    OutOfMemoryError,
    RemoteBusyError,
    RemoteError,
)
from edgeproxy.measure.answering import Answering, Ask
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.lanes import Lanes, lanes_of
from edgeproxy.remote import retry
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from tests.helpers.fake_server import Reply, Request
from tests.helpers.gguf_files import OTHER_MERGES
from tests.helpers.served_trios import Files, Served, elsewhere, served_file, write_trio

QUESTIONS = [Question(f"Question {n}?", ("x",)) for n in range(8)]
SYSTEMS = ("base", "expert", "proxy", "proxy/alpha=0.5", "proxy/alpha=1/base_weight=0")
ASK = Ask(Sampling(), 6)
LONG = 120.0
"""Seconds after which a test has failed that waits for what must happen."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("lanes"))


@pytest.fixture
def served(files: Files) -> Iterator[Served]:
    with served_file(files["base"]) as found:
        yield found


@pytest.fixture
def session(files: Files, served: Served) -> Iterator[Session]:
    with elsewhere(files, served, draft="off") as found:
        yield found


class Watched:
    """A server's answers, and how many of its requests were open at once.

    The `together` first ones wait until so many are open: without as many the test fails.
    """

    def __init__(self, answer: Callable[[Request], object], together: int = 1) -> None:
        self.most = self.open = 0
        self._answer = answer
        self._lock = threading.Lock()
        self._first = together
        self._gate = threading.Barrier(together)

    def __call__(self, request: Request) -> object:
        with self._lock:
            self.open += 1
            self.most = max(self.most, self.open)
            waits = self._first > 0
            self._first -= 1
        try:
            if waits:
                self._gate.wait(LONG)
            return self._answer(request)
        finally:
            with self._lock:
                self.open -= 1


def replies_of(session: Session, count: int | None, **settings: Any) -> dict[str, list[str]]:
    work = Answering(session, SYSTEMS, QUESTIONS, ASK, at_once=count, **settings)
    return work.run(2)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_so_many_questions_are_open_at_once_and_no_more(
    session: Session, served: Served, count: int
) -> None:
    wanted = replies_of(session, None)
    served.server.answer = watched = Watched(served.serving.answer, count)
    heard: list[tuple[str, int]] = []
    found = replies_of(session, count, heard=lambda system, n, _text: heard.append((system, n)))
    assert watched.most == count
    assert found == wanted
    assert list(found) == list(SYSTEMS)
    assert sorted(heard) == sorted((s, n) for s in SYSTEMS for n in range(len(QUESTIONS)))


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_so_do_pairs_with_a_tokenizer_of_their_own(tmp_path: Path, way: str) -> None:
    with served_file((files := write_trio(tmp_path, OTHER_MERGES))["base"]) as served:
        answered = []
        for count in (1, 3):
            with elsewhere(files, served, way) as session:
                assert session.matches["expert"].case == "different"
                work = Answering(session, ("base", "proxy"), QUESTIONS, ASK, at_once=count)
                answered.append(work.run(1))
        assert answered[0] == answered[1]


@pytest.mark.parametrize("alone", [{"alpha": 0.0}, {"base_weight": 0.0}])
def test_a_trio_that_leaves_the_say_to_one_model(
    files: Files, served: Served, alone: dict[str, float]
) -> None:
    answered = []
    for count in (1, 4):
        with elsewhere(files, served, **alone) as session:
            work = Answering(session, ("proxy",), QUESTIONS, ASK, at_once=count)
            answered.append(work.run(1))
    assert answered[0] == answered[1]


def test_what_is_known_is_not_asked_again(session: Session, served: Served) -> None:
    wanted = replies_of(session, None)
    known = {(s, n): wanted[s][n] for s in SYSTEMS for n in range(8) if n != 5}
    heard: list[tuple[str, int]] = []
    found = replies_of(
        session, 4, known=known, heard=lambda system, n, _text: heard.append((system, n))
    )
    assert found == wanted
    assert sorted(heard) == sorted((system, 5) for system in SYSTEMS)


def test_what_the_lanes_ask_is_counted(session: Session, served: Served) -> None:
    served.server.requests.clear()
    replies_of(session, 3)
    assert session.spent is not None
    asked = [request for request in served.server.requests if request.path == "/completion"]
    assert session.spent.requests == len(asked)
    # What the server can do was found out once.
    assert len(asked) == len(served.server.requests)


def test_expert_that_answers_for_the_trio_takes_no_lane(session: Session, served: Served) -> None:
    served.server.requests.clear()
    systems = ("expert", "proxy/alpha=1/base_weight=0")
    found = Answering(session, systems, QUESTIONS, ASK, at_once=4).run(2)
    assert len(found) == 2
    assert served.server.requests == []


# Too many, or failing


@contextmanager
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.002)
    yield


def test_a_server_that_takes_fewer_gets_fewer(
    session: Session, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once and no more, each time anew: 429 for the rest, which are asked again."""
    wanted = replies_of(session, None)
    room = threading.Semaphore(2)
    refused = threading.Event()

    def answer(request: Request) -> object:
        if not room.acquire(blocking=False):
            refused.set()
            return Reply(429, headers={"Retry-After": "0"})
        try:
            assert refused.wait(LONG)
            return served.serving.answer(request)
        finally:
            room.release()

    served.server.answer = answer
    with quick_retries(monkeypatch):
        assert replies_of(session, 6) == wanted


class Busy:
    """An answer that is refused where `room` are under way; the first `held` wait for a refusal."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.answered: Counter[int] = Counter()
        self.refused = 0
        self._lock = threading.Lock()
        self._open = 0
        self.was_refused = threading.Event()

    def __call__(self, _speaker: object, _system: str, number: int) -> None:
        with self._lock:
            if self._open == self.room:
                self.refused += 1
                self.was_refused.set()
                raise RemoteBusyError("a server", "too many", 429)
            self._open += 1
        assert self.was_refused.wait(LONG)
        with self._lock:
            self._open -= 1
            self.answered[number] += 1


def run_lanes(lanes: Lanes, count: int) -> list[BaseException]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            lanes.run()
        except EdgeproxyError as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return failed


def test_a_lane_that_is_one_too_many_leaves_its_question_to_the_others(session: Session) -> None:
    answer = Busy(2)
    lanes = Lanes(session, [("base", n) for n in range(20)], 5, answer)
    assert run_lanes(lanes, 5) == []
    assert answer.answered == Counter(range(20))
    assert 1 <= answer.refused <= 3


def test_the_last_lane_that_is_refused_says_so(session: Session) -> None:
    asked = []

    def answer(_speaker: object, _system: str, number: int) -> None:
        asked.append(number)
        raise RemoteBusyError("a server", "too many", 429)

    lanes = Lanes(session, [("base", n) for n in range(20)], 5, answer)
    [failed] = run_lanes(lanes, 5)
    assert isinstance(failed, RemoteBusyError)
    assert len(asked) == 5


def test_a_question_that_comes_back_when_the_others_are_done_is_answered(session: Session) -> None:
    """One lane is at its question until the other one's has been refused, and takes that too."""
    refused = threading.Event()
    answered = []

    def answer(_speaker: object, _system: str, number: int) -> None:
        if number == 1 and not refused.is_set():
            refused.set()
            raise RemoteBusyError("a server", "too many", 429)
        assert refused.wait(LONG)
        answered.append(number)

    lanes = Lanes(session, [("base", 0), ("base", 1)], 2, answer)
    assert run_lanes(lanes, 2) == []
    assert answered == [0, 1]


def test_no_room_for_another_context_is_a_lane_less(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Any:
        raise OutOfMemoryError("no room for a context")

    monkeypatch.setattr(session, "another", full)
    answered = []
    both = threading.Event()

    def answer(_speaker: object, _system: str, number: int) -> None:
        answered.append(number)
        both.wait(0.01)

    lanes = Lanes(session, [("proxy", n) for n in range(10)], 4, answer)
    assert run_lanes(lanes, 4) == []
    assert sorted(answered) == list(range(10))


def test_a_request_that_fails_loses_no_other_reply(session: Session, served: Served) -> None:
    """A reply goes on to its end when another one fails, and is heard before the error is."""
    failed = threading.Event()
    first: dict[int, int] = {}  # by the connection, so by the lane, the order of its first request
    lock, all_at_it = threading.Lock(), threading.Barrier(3)

    def answer(request: Request) -> object:
        with lock:
            is_new = request.port not in first
            place = first.setdefault(request.port, len(first))
        if is_new:
            all_at_it.wait(LONG)
        if place == 1:
            failed.set()
            return Reply(500, {"error": {"message": "broken"}})
        assert failed.wait(LONG)
        return served.serving.answer(request)

    served.server.answer = answer
    heard: list[int] = []
    work = Answering(
        session,
        ("proxy",),
        QUESTIONS,
        ASK,
        heard=lambda _system, number, _text: heard.append(number),
        at_once=3,
    )
    with pytest.raises(RemoteError, match="broken"):
        work.run(1)
    assert len(heard) == 2


def test_a_stop_ends_all_requests_at_once(session: Session, served: Served) -> None:
    """The server has all lanes' requests open and would answer none of them for minutes."""
    count, all_open = 4, threading.Event()
    left: list[Request] = []
    lock = threading.Lock()

    def answer(request: Request) -> object:
        with lock:
            left.append(request)
            if len(left) == count:
                all_open.set()
        return Reply(delay=300.0)

    served.server.answer = answer
    work = Answering(session, ("base", "proxy"), QUESTIONS, ASK, at_once=count)

    def stop() -> None:
        assert all_open.wait(LONG)
        work.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Cancelled):
        work.run(1)
    stopper.join()
    assert len(left) == count
    assert all(request.left.wait(LONG) for request in left)


# How many


def test_as_many_as_the_server_says(files: Files) -> None:
    with served_file(files["base"], slots=7) as served, elsewhere(files, served) as session:
        assert lanes_of(session, None, None, needs_trio=True) == 7
        assert lanes_of(session, 3, None, needs_trio=True) == 3
    with served_file(files["base"]) as served, elsewhere(files, served) as session:
        assert lanes_of(session, None, None, needs_trio=True) == 4


@pytest.mark.parametrize("slots", [0, -1, True, "4", 2.5, None, 10**9])
def test_whatever_a_server_says_of_its_slots(files: Files, slots: Any) -> None:
    with served_file(files["base"], slots=slots) as served, elsewhere(files, served) as session:
        wanted = 64 if slots == 10**9 else 4
        assert lanes_of(session, None, None, needs_trio=False) == wanted


def test_no_more_than_fit_into_memory(session: Session) -> None:
    each = session.memory.another
    assert each > 1_000_000
    room = Free(2 * each + 1, "free are")
    assert lanes_of(session, None, room, needs_trio=True) == 2
    assert lanes_of(session, None, room, needs_trio=False) == 4  # which take nothing here
    assert lanes_of(session, 2, room, needs_trio=True) == 2
    assert lanes_of(session, None, Free(0, ""), needs_trio=True) == 1
    with pytest.raises(OutOfMemoryError, match=r"9 questions at once take .*--parallel 2\)"):
        lanes_of(session, 9, room, needs_trio=True)


def test_models_that_are_all_here_have_no_lanes(files: Files) -> None:
    from edgeproxy.session.load import load

    with load(**files, n_threads=1) as session:
        assert lanes_of(session, None, None, needs_trio=True) is None
        assert session.remote is None


def test_each_lane_has_a_speaker_of_its_own(session: Session) -> None:
    used: dict[int, set[int]] = {}
    gate = threading.Barrier(3)
    lock = threading.Lock()

    def answer(speaker: Speaker[Any], _system: str, number: int) -> None:
        with lock:
            used.setdefault(threading.get_ident(), set()).add(id(speaker))
        if number < 3:
            gate.wait(LONG)

    lanes = Lanes(session, [("proxy", n) for n in range(9)], 3, answer)
    assert run_lanes(lanes, 3) == []
    everyone = set().union(*used.values())
    assert len(used) == len(everyone) == 3
    assert id(session.speaker) in everyone
