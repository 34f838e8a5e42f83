"""The engine over models in a process of their own, which ends in all kinds of ways."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import ClosingError, WorkerError
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.events import Loading, Said
from edgeproxy.serve.settings import Settings
from edgeproxy.serve.wanted import Wanted
from edgeproxy.session.load import load
from edgeproxy.session.model_files import Progress
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, read_recipe
from tests.helpers.clients import DEADLINE, Client, until
from tests.helpers.fake_worker import isolated
from tests.helpers.told_sessions import RECIPE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]

HELLO = "Hi, how are you?"


def wanted(text: str, who: str = "", **how: Any) -> Wanted:
    return Wanted((Message("user", text),), who=who, **how)


@asynccontextmanager
async def engine_of(
    make: Callable[..., Session], recipe: Recipe = RECIPE, **settings: Any
) -> AsyncIterator[SharedEngine]:
    """An engine; no process and no thread of it is left."""
    engine = SharedEngine(make, recipe, Settings(**settings))
    try:
        yield engine
    finally:
        pid = engine.pid
        await engine.close(0.0)
        if pid is not None:
            assert is_gone(pid)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    before = set(threading.enumerate())
    asyncio.run(work())
    for thread in set(threading.enumerate()) - before:
        # One that tokenises serves the whole process.
        if thread.name.startswith("edgeproxy") and thread.name != "edgeproxy-tokenize":
            thread.join(DEADLINE)
            assert not thread.is_alive()


def fakes(slow: float = 0.0) -> Callable[..., Session]:
    """Loads a worker of fakes, `slow` seconds a token."""

    def make(*, progress: Progress | None, cancel: Cancel | None) -> Session:
        return isolated(progress=progress, cancel=cancel, slow=slow)

    return make


def test_a_worker_that_ends_is_the_error_of_one_request_and_others_are_answered() -> None:
    async def work() -> None:
        async with engine_of(fakes()) as engine:
            assert (await Client(engine, wanted("Hello")).ended()).turn.text == HELLO
            clients = {
                what: Client(engine, wanted(what))
                for what in ("do SIGSEGV", "Hello", "do abort", "Bye", "do exit", "do bug")
            }
            for what, client in clients.items():
                if what.startswith("do "):
                    assert isinstance(await client.failed(), WorkerError)
                else:
                    await client.ended()
                    assert client.text == {"Hello": HELLO, "Bye": "See you soon."}[what]
            last = Client(engine, wanted("Hello"))
            await last.ended()
            assert any(isinstance(event, Loading) for event in last.events)
            assert engine.starts == 5
            assert engine.counts.requests["worker"] == 4
            assert engine.counts.requests["stop"] == 4

    run(work)


def test_a_worker_that_was_killed_in_the_midst_or_between_requests() -> None:
    async def work() -> None:
        async with engine_of(fakes(slow=0.001)) as engine:
            for name in ("SIGKILL", "SIGSEGV", "SIGABRT"):
                long, late = Client(engine, wanted("Long")), Client(engine, wanted("Hello"))
                await until(lambda long=long: len(long.text) > 3)  # type: ignore[misc]
                assert engine.pid is not None
                os.kill(engine.pid, getattr(signal, name))
                error = await long.failed()
                assert isinstance(error, WorkerError)
                assert error.signal == name
                await late.ended()
                assert late.text == HELLO
            pid = engine.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: engine.state.word == "asleep")
            assert engine.pid is None
            assert await engine.count(wanted("Hello")) > 0
            assert engine.state.word == "ready"
            assert engine.pid not in (None, pid)
            assert engine.starts == 5

    run(work)


def test_with_preload_the_next_worker_is_there_before_the_next_request() -> None:
    async def work() -> None:
        async with engine_of(fakes(), preload=True) as engine:
            engine.start()
            assert isinstance(await Client(engine, wanted("do abort")).failed(), WorkerError)
            await until(lambda: engine.state.word == "ready")
            assert engine.starts == 2

    run(work)


def test_who_leaves_frees_the_engine_within_200_ms() -> None:
    async def work() -> None:
        async with engine_of(fakes(slow=0.002)) as engine:
            await Client(engine, wanted("Hello")).ended()
            took = []
            for _ in range(5):
                long = Client(engine, wanted("Long"))
                await until(lambda long=long: len(long.text) > 3)  # type: ignore[misc]
                began = time.perf_counter()
                await long.leave()
                await until(lambda: not engine.is_busy)
                took.append(time.perf_counter() - began)
            assert min(took) < 0.2  # a busy machine is slow now and then
            assert engine.starts == 1
            assert engine.counts.requests["left"] == 5

    run(work)


def test_closing_lets_a_reply_end_in_peace() -> None:
    async def work() -> None:
        async with engine_of(fakes(slow=0.01)) as engine:
            client = Client(engine, wanted("Hello"))
            await until(lambda: len(client.text) > 2)
            pid = engine.pid
            assert pid is not None
            await engine.close(DEADLINE)
            assert is_gone(pid)
            assert (await client.ended()).finish_reason == "stop"
            assert client.text == HELLO

    run(work)


def test_closing_ends_the_process_though_a_reply_is_under_way() -> None:
    async def work() -> None:
        async with engine_of(fakes(slow=0.002)) as engine:
            long = Client(engine, wanted("Long"))
            await until(lambda: len(long.text) > 3)
            pid = engine.pid
            assert pid is not None
            await engine.close(0.1)
            assert is_gone(pid)
            assert isinstance(await long.failed(), ClosingError)

    run(work)


KILLS = 4  # 50 by hand


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux has them")
def test_workers_that_end_leave_nothing() -> None:
    async def work() -> None:
        async with engine_of(fakes(slow=0.001)) as engine:
            await Client(engine, wanted("Hello")).ended()
            before = open_descriptors(), threading.active_count()
            for n in range(KILLS):
                name = ("SIGKILL", "SIGSEGV", "SIGABRT")[n % 3]
                late = [Client(engine, wanted("Hello")) for _ in range(3)]
                long = Client(engine, wanted("Long"))
                await until(lambda long=long: len(long.text) > 3)  # type: ignore[misc]
                late += [Client(engine, wanted("Hello")) for _ in range(3)]
                assert engine.pid is not None
                os.kill(engine.pid, getattr(signal, name))
                error = await long.failed()
                assert isinstance(error, WorkerError)
                assert error.signal == name
                for client in late:
                    await client.ended()
                    assert client.text == HELLO
            await until(lambda: open_descriptors() <= before[0])
            await until(lambda: threading.active_count() <= before[1])
            assert engine.starts == 1 + KILLS

    run(work)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as the system lists them


def test_tokens_are_counted_while_a_worker_ends() -> None:
    """Whoever asks gets an answer or the worker's error, and nobody a closed session's."""

    async def work() -> None:
        async with engine_of(fakes(slow=0.001)) as engine:
            for _ in range(3):
                long = Client(engine, wanted("Long"))
                await until(lambda long=long: len(long.text) > 3)  # type: ignore[misc]
                assert engine.pid is not None
                os.kill(engine.pid, signal.SIGKILL)
                counts = [asyncio.create_task(engine.count(wanted("Hello"))) for _ in range(4)]
                assert isinstance(await long.failed(), WorkerError)
                for found in await asyncio.gather(*counts, return_exceptions=True):
                    assert isinstance(found, int | WorkerError)
                assert (await Client(engine, wanted("Hello")).ended()).turn.text == HELLO

    run(work)


# With weights


CAPITALS = {
    "Mongolia": "Ulaanbaatar",
    "Chad": "N'Djamena",
    "Peru": "Lima",
    "France": "Paris",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Egypt": "Cairo",
    "Cuba": "Havana",
    "Austria": "Vienna",
}


def asks(country: str, who: str = "", **how: Any) -> Wanted:
    return wanted(f"What is the capital of {country}?", who, **how)


def factbook_load(path: Path) -> Callable[..., Session]:
    def make(*, progress: Progress | None, cancel: Cancel | None) -> Session:
        return load(path, isolate=True, progress=progress, cancel=cancel)

    return make


@pytest.mark.weights
def test_thirty_at_once_get_their_own_answers_though_the_worker_is_killed(factbook: Path) -> None:
    async def work() -> None:
        recipe = read_recipe(factbook)
        async with engine_of(factbook_load(factbook), recipe) as engine:
            alone = {}
            for country, capital in CAPITALS.items():
                alone[country] = (await Client(engine, asks(country)).ended()).turn.text
                assert country in alone[country]
                assert capital in alone[country]
            clients = [
                (country, Client(engine, asks(country, who=str(n % 4))))
                for n in range(3)
                for country in CAPITALS
            ]
            await until(lambda: engine.counts.requests["stop"] >= 15)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            await asyncio.wait([client.task for _, client in clients], timeout=DEADLINE)
            failed = 0
            for country, client in clients:
                if client.task.exception() is not None:
                    assert isinstance(await client.failed(), WorkerError)
                    failed += 1
                    continue
                await client.ended()
                assert client.text == alone[country]
            assert failed <= 1
            assert engine.starts == 2

    run(work)


@pytest.mark.weights
def test_a_role_alone_a_recorded_reply_a_raw_text_and_their_tokens(factbook: Path) -> None:
    async def work() -> None:
        recipe = read_recipe(factbook)
        async with engine_of(factbook_load(factbook), recipe) as engine:
            recorded = Client(engine, asks("Peru", record=3))
            last = await recorded.ended()
            vocab = await engine.vocab()
            said = [event for event in recorded.events if isinstance(event, Said)]
            steps = [event.step for event in said]
            tokens = [step.token for step in steps if step is not None]
            assert tokens == [event.piece.token for event in said]
            assert len(said) == last.turn.usage.completion
            assert last.session.vocab is vocab
            assert b"".join(map(vocab.piece, tokens[:-1])).decode().strip() == recorded.text.strip()
            # A role may have a longer prompt than the base, which usage is about.
            assert await engine.count(asks("Peru")) >= last.turn.usage.prompt
            ways: list[dict[str, Any]]
            ways = [{"answers": "expert"}, {"answers": "base"}, {"is_raw": True}]
            for how in ways:
                client = Client(engine, asks("Peru", max_tokens=8, **how))
                usage = (await client.ended()).turn.usage
                assert usage.completion > 0
                assert await engine.count(asks("Peru", **how)) >= usage.prompt > 0
            assert engine.counts.requests["stop"] + engine.counts.requests["length"] == 4

    run(work)


@pytest.mark.weights
def test_the_loop_goes_on_all_the_while(factbook: Path) -> None:
    """As measured in the time that the processor gave the loop, whatever else the machine did."""

    async def work() -> None:
        recipe = read_recipe(factbook)
        longest = 0.0
        run_one = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            nonlocal longest
            began = time.thread_time()
            run_one(handle)
            longest = max(longest, time.thread_time() - began)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", timed)
            async with engine_of(factbook_load(factbook), recipe) as engine:
                clients = [Client(engine, asks(country)) for country in CAPITALS]
                for client in clients:
                    await client.ended()
                await engine.count(asks("Peru"))
        assert 0.0 < longest < 0.02

    run(work)
