"""Whatever ends a worker, or hangs it, is one error here; and a worker ends with its host."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeproxy.errors import WorkerError
from edgeproxy.worker.calls import Patience
from edgeproxy.worker.isolated import IsolatedSession
from tests.helpers.fake_worker import MISDEEDS, isolated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]

CYCLES = 20  # 200 by hand: it starts as many processes
ENDS_SECONDS = 2.0
IMPATIENT = Patience(silent=2.0, idle=4.0, heedless=2.0)

ENDINGS = {
    **{name: name for name in MISDEEDS if name.startswith("SIG")},
    "abort": "SIGABRT",
    "null": "SIGSEGV",
    "null context": "SIGSEGV",
    "null vocabulary": "SIGSEGV",
    "bad free": "SIGSEGV",
    "exit": None,
    "bug": None,
}
"""What is done in a worker, and the signal that ends it for that."""


def text_of(session: IsolatedSession, question: str = "Hello") -> str:
    return "".join(piece.text for piece in session.reply(question))


def is_gone(pid: int, within: float = ENDS_SECONDS) -> bool:
    """Whether there is no such process any more, nor a zombie of it that is not waited for."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            if not Path("/proc/self").exists():
                return not subprocess.run(["ps", "-p", str(pid)], capture_output=True).stdout
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("what", ENDINGS)
def test_an_end_is_an_error_that_names_the_signal_and_the_next_call_goes_on(what: str) -> None:
    with isolated() as session:
        talk = session.conversation()
        list(talk.say("Hello"))
        with pytest.raises(WorkerError, match="ended") as caught:
            list(session.reply(f"do {what}"))
        assert caught.value.signal == ENDINGS[what]
        if what == "exit":
            assert "exit code 7" in str(caught.value)
        if what == "bug":
            assert "KeyError: 'no such key'" in str(caught.value)
        assert session.pid is None
        assert "".join(p.text for p in talk.say("Bye")) == "See you soon."
        assert len(talk.messages) == 4
        assert session.starts == 2


@pytest.mark.parametrize("what", ["hold", "sleep"])
def test_a_hang_is_an_error_and_the_next_call_goes_on(what: str) -> None:
    with isolated(IMPATIENT) as session:
        says = "no sign of life" if what == "hold" else "did not get on"
        with pytest.raises(WorkerError, match=f"{says}.*and was ended"):
            list(session.reply(f"do {what}"))
        assert text_of(session) == "Hi, how are you?"


@pytest.mark.parametrize("what", ["hold", "sleep"])
def test_a_worker_that_does_not_heed_a_cancel_is_ended(what: str) -> None:
    with isolated(Patience(60.0, 60.0, 0.5)) as session:
        turn = session.reply(f"do {what}")
        threading.Timer(0.3, turn.cancel).start()
        with pytest.raises(WorkerError, match="did not stop when it was cancelled"):
            list(turn)
        assert text_of(session) == "Hi, how are you?"


def test_a_worker_that_is_stopped_counts_as_hung() -> None:
    with isolated(IMPATIENT) as session:
        turn = session.reply("Long", max_tokens=4000)
        next(turn)
        assert session.pid is not None
        os.kill(session.pid, signal.SIGSTOP)
        with pytest.raises(WorkerError, match="no sign of life"):
            list(turn)
        assert text_of(session) == "Hi, how are you?"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_signal_in_the_middle_of_a_stream(name: str) -> None:
    with isolated() as session:
        for _ in range(3):
            turn = session.reply("Long", max_tokens=4000)
            next(turn)
            assert session.pid is not None
            os.kill(session.pid, getattr(signal, name))
            with pytest.raises(WorkerError) as caught:
                list(turn)
            assert caught.value.signal == name
            assert turn.text.startswith("x")
        assert text_of(session) == "Hi, how are you?"


def test_what_ends_loading_is_an_error_too() -> None:
    for what, signal_name in (("abort", "SIGABRT"), ("exit", None), ("SIGKILL", "SIGKILL")):
        with pytest.raises(WorkerError, match="while it loaded the models") as caught:
            isolated(misdeed=what)
        assert caught.value.signal == signal_name


def test_all_calls_of_one_worker_learn_of_its_end() -> None:
    with isolated() as session:
        solo, errors = session.solo("expert"), []
        turns = [session.reply("Long", max_tokens=4000), solo.reply("Hello")]

        def read(turn: object) -> None:
            try:
                for _ in turn:  # type: ignore[attr-defined]
                    time.sleep(0.2)
            except WorkerError as error:
                errors.append(error)

        threads = [threading.Thread(target=read, args=(turn,)) for turn in turns]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert session.pid is not None
        os.kill(session.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert errors
        assert text_of(session) == "Hi, how are you?"
        assert "".join(p.text for p in solo.reply("Bye")) == "See you soon."


HOST = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from tests.helpers.fake_worker import isolated

def work():
    session = isolated()
    turn = session.reply({question!r}, max_tokens=4000)
    if {question!r} == "Long":
        next(turn)
    print(session.pid, flush=True)
    return session, turn, list(turn) if {question!r} != "Long" else None

{fork}
with ThreadPoolExecutor(1) as pool:
    kept = pool.submit(work)
    kept.result()
    time.sleep(60)
"""
FORK = """
def forks():
    time.sleep(0.01)
    kept.result()
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    print("forked", flush=True)

import threading
threading.Timer(1.0, forks).start()
"""


@pytest.mark.parametrize(
    ("question", "fork"),
    [("Long", ""), ("do hold", ""), ("do sleep", ""), ("Long", FORK)],
    ids=["mid-stream", "holding the interpreter", "asleep", "with a fork that lives on"],
)
def test_a_worker_ends_with_its_host_that_was_killed(question: str, fork: str) -> None:
    code = HOST.format(question=question, fork=fork)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        if fork:
            assert host.stdout.readline().strip() == "forked"
        else:
            time.sleep(0.5)
        host.kill()
        gone = is_gone(pid)
        host.stdout.close()
    if not gone:
        os.kill(pid, signal.SIGKILL)
    assert gone


def test_a_worker_outlives_the_thread_that_started_it() -> None:
    made: list[IsolatedSession] = []
    thread = threading.Thread(target=lambda: made.append(isolated()))
    thread.start()
    thread.join()
    with made[0] as session:
        time.sleep(0.5)
        assert text_of(session) == "Hi, how are you?"
        assert session.starts == 1


def test_one_that_is_forgotten_ends_its_worker() -> None:
    session = isolated()
    pid = session.pid
    assert pid is not None
    del session
    gc.collect()
    assert is_gone(pid)


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def children() -> list[str]:
    return [c for p in Path("/proc/self/task").glob("*/children") for c in p.read_text().split()]


def resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
@pytest.mark.parametrize("end", ["close", "kill"])
def test_nothing_is_left_of_many(end: str) -> None:
    def cycle() -> None:
        session = isolated()
        assert text_of(session) == "Hi, how are you?"
        if end == "kill":
            turn = session.reply("Long", max_tokens=4000)
            next(turn)
            assert session.pid is not None
            os.kill(session.pid, signal.SIGKILL)
            with pytest.raises(WorkerError):
                list(turn)
        session.close()

    cycle()
    before = descriptors(), children(), threading.active_count()
    memory = resident()
    for _ in range(CYCLES if end == "close" else 3):
        cycle()
    assert (descriptors(), children(), threading.active_count()) == before
    assert resident() - memory < 10_000_000


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
@pytest.mark.parametrize("started", [0, 1, 2])
def test_where_the_system_starts_no_thread_nothing_is_left(
    started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolated().close()
    gc.collect()
    before, left = (descriptors(), children(), threading.active_count()), [started]
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_some)
        with pytest.raises(WorkerError, match="the system starts no more threads"):
            isolated()
    assert (descriptors(), children(), threading.active_count()) == before
    isolated().close()


def test_a_cancel_is_heard_from_another_thread_at_once() -> None:
    """The bar is 100 ms on a quiet machine; a busy one may take longer, not as long as a reply."""
    with isolated(slow=0.02) as session:
        turn = session.reply("Long", max_tokens=4000)
        next(turn)
        began: list[float] = []

        def cancel() -> None:
            began.append(time.monotonic())
            turn.cancel()

        threading.Timer(0.2, cancel).start()
        last = list(turn)[-1]
        assert last.finish_reason == "cancelled"
        assert time.monotonic() - began[0] < 5.0
