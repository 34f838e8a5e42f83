"""The engine loads and unloads models, counts tokens meanwhile, and closes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edgeproxy.errors import (
    ClosingError,
    ModelFileError,
    QueueFullError,
    WorkerError,
)
from edgeproxy.serve.events import Loading
from edgeproxy.serve.keeping import State
from tests.helpers.clients import DEADLINE, until
from tests.helpers.engine_bench import bench, run, wanted

# Loading, and unloading


def test_before_at_and_after_loading_it_says_how_the_models_are() -> None:
    async def work() -> None:
        async with bench() as it:
            engine = it.engine
            assert engine.state == State("asleep")
            assert engine.pid is None
            known = engine.known()
            assert (known.name, known.n_ctx, known.vocab) == ("told", 50, None)
            assert known.roles == ("base", "expert", "anti_expert")
            assert known.can_record
            assert not known.has_documents
            assert (engine.memory, engine.doubts) == (None, ())
            it.load.may_load.clear()
            client = it.ask("Hello")
            await until(lambda: engine.state.share == 0.5)
            assert engine.state == State("loading", "", "base", 0.5)
            late = it.ask("late")
            await until(lambda: Loading("base", 0.5) in late.events)
            it.told.answer("Hello", "a")
            it.told.answer("late", "a")
            it.load.may_load.set()
            await client.ended()
            await late.ended()
            assert engine.state.word == "ready"
            assert engine.pid is not None
            assert engine.starts == 1
            assert engine.known().n_ctx == 100
            assert engine.memory is not None
            assert engine.doubts == ("a doubt",)
            assert engine.known().vocab is await engine.vocab()
            await engine.close()
            assert engine.state.word == "closing"

    run(work)


def test_models_are_loaded_at_the_start_where_that_is_wanted() -> None:
    async def work() -> None:
        async with bench(preload=True) as it:
            it.engine.start()
            await until(lambda: it.engine.state.word == "ready")
        async with bench() as it:
            it.engine.start()
            assert it.engine.state.word == "asleep"

    run(work)


def test_a_loading_that_fails_is_the_error_of_those_who_waited_for_it() -> None:
    async def work() -> None:
        async with bench(ModelFileError("a.gguf", "it is damaged")) as it:
            clients = [it.ask("one"), it.ask("two")]
            for client in clients:
                assert "it is damaged" in str(await client.failed())
            assert it.engine.state.word == "failed"
            assert "it is damaged" in it.engine.state.why
            assert await it.answered("next") == "to next"
            assert it.engine.state == ("ready", "", "", 0.0)
            assert it.outcomes == {"failed": 2, "stop": 1}
            assert (it.engine.keeping.loads, it.engine.keeping.failures) == (2, 1)

    run(work)


def test_a_worker_that_ends_while_it_loads_is_the_error_of_one() -> None:
    async def work() -> None:
        async with bench(WorkerError("it ended")) as it:
            one, two = it.ask("one"), it.ask("two")
            it.told.answer("two", "b")
            assert isinstance(await one.failed(), WorkerError)
            await two.ended()
            assert it.outcomes == {"worker": 1, "stop": 1}

    run(work)


def test_models_are_unloaded_at_once_where_they_are_not_kept() -> None:
    async def work() -> None:
        async with bench(keep_alive=0.0) as it:
            for text in ("one", "two"):
                assert await it.answered(text) == f"to {text}"
                await until(lambda: it.engine.state.word == "asleep")
                await until(lambda: it.load.files[-1].is_closed)
            assert it.load.begun == 2
            assert await it.engine.vocab() is it.engine.known().vocab
            assert it.load.begun == 2  # it is known still

    run(work)


def test_models_are_unloaded_when_nobody_wants_them_for_long() -> None:
    async def work() -> None:
        async with bench(keep_alive=0.05) as it:
            await it.answered("one")
            await until(lambda: it.load.files[0].is_closed)
            assert it.engine.state.word == "asleep"
            assert await it.answered("two") == "to two"
        async with bench(keep_alive=None) as it:
            await it.answered("one")
            assert it.engine.keeping._sleeping is None

    run(work)


def test_a_request_that_comes_while_models_are_unloaded_waits_and_has_them_loaded() -> None:
    async def work() -> None:
        async with bench(keep_alive=0.0) as it:
            client = await it.begun("one")
            files = it.load.files[0]
            files.may_close.clear()
            it.told.answer("one", "a")
            await client.ended()
            await until(lambda: it.engine.state.word == "asleep")
            late = it.ask("late")
            it.told.answer("late", "b")
            await until(lambda: late.events)
            assert it.load.begun == 1
            files.may_close.set()
            await late.ended()
            assert it.load.open_at_once == [1, 1]

    run(work)


def test_a_request_just_before_the_models_would_be_unloaded_keeps_them() -> None:
    async def work() -> None:
        async with bench(keep_alive=1000.0) as it:
            await it.answered("one")
            assert it.engine.keeping._sleeping is not None
            two = it.ask("two")
            await until(lambda: "two" in it.told.begun)
            assert it.engine.keeping._sleeping is None
            it.told.answer("two", "b")
            await two.ended()
            await until(lambda: it.engine.keeping._sleeping is not None)
            assert it.load.begun == 1

    run(work)


# Beside replies


def test_tokens_are_counted_while_a_reply_is_under_way() -> None:
    async def work() -> None:
        async with bench(keep_alive=0.0) as it:
            first = await it.begun("first")
            assert await it.engine.count(wanted("abc")) == 3
            assert await it.engine.count(wanted("abc", is_raw=True)) == 1001
            assert await it.engine.count(wanted("abcd", answers="base")) == 4
            assert len(await it.engine.vocab()) == len(await it.engine.vocab("base"))
            it.told.answer("first", "a")
            await first.ended()

    run(work)


def test_counting_loads_the_models_and_keeps_them_meanwhile() -> None:
    async def work() -> None:
        async with bench(keep_alive=0.0) as it:
            it.told.counting.clear()
            counting = asyncio.create_task(it.engine.count(wanted("abc")))
            await until(lambda: it.load.files)
            assert await it.answered("Hello") == "to Hello"
            assert not it.load.files[0].is_closed
            it.told.counting.set()
            assert await asyncio.wait_for(counting, DEADLINE) == 3
            await until(lambda: it.load.files[0].is_closed)
            assert it.load.begun == 1

    run(work)


def test_too_many_counts_are_refused_and_those_who_left_take_no_more_threads() -> None:
    async def work() -> None:
        async with bench(most_waiting=5) as it:
            await it.answered("before")
            it.told.counting.clear()
            counts = [asyncio.create_task(it.engine.count(wanted("abc"))) for _ in range(6)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError):
                await it.engine.count(wanted("abc"))
            for count in counts:
                count.cancel()
            await asyncio.wait(counts)
            counts = [asyncio.create_task(it.engine.count(wanted("abc"))) for _ in range(6)]
            await asyncio.sleep(0)
            threads = [t for t in threading.enumerate() if t.name == "edgeproxy count"]
            assert len(threads) <= 4
            it.told.counting.set()
            assert await asyncio.wait_for(asyncio.gather(*counts), DEADLINE) == [3] * 6

    run(work)


def test_an_error_of_loading_is_one_of_counting() -> None:
    async def work() -> None:
        async with bench(ModelFileError("a.gguf", "it is damaged")) as it:
            with pytest.raises(ModelFileError):
                await it.engine.count(wanted("abc"))
            assert await it.engine.count(wanted("abc")) == 3

    run(work)


# The end


def test_closing_lets_the_reply_end_and_refuses_the_others() -> None:
    async def work() -> None:
        async with bench() as it:
            first, second = await it.begun("first"), it.ask("second")
            await until(lambda: second.places)
            closing = asyncio.create_task(it.engine.close(DEADLINE))
            assert isinstance(await second.failed(), ClosingError)
            assert isinstance(await it.ask("third").failed(), ClosingError)
            with pytest.raises(ClosingError):
                await it.engine.count(wanted("abc"))
            assert not closing.done()
            it.told.answer("first", "a")
            await first.ended()
            await asyncio.wait_for(closing, DEADLINE)
            assert it.load.files[0].is_closed
            await it.engine.close()
            assert it.outcomes == {"closing": 2, "stop": 1}

    run(work)


def test_closing_ends_the_reply_after_the_grace() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.say("first", "x")
            first = await it.begun("first")
            await until(lambda: first.text)
            await it.engine.close(0.05)
            assert isinstance(await first.failed(), ClosingError)
            assert it.load.files[0].is_closed
            assert it.outcomes == {"closing": 1}

    run(work)


def test_closing_breaks_off_loading() -> None:
    async def work() -> None:
        async with bench() as it:
            it.load.may_load.clear()
            client = it.ask("first")
            counting = asyncio.create_task(it.engine.count(wanted("abc")))
            await until(lambda: it.engine.state.share == 0.5)
            await it.engine.close()
            assert isinstance(await client.failed(), ClosingError)
            with pytest.raises(ClosingError):
                await counting
            assert it.load.files == []
            assert it.engine.state.word == "closing"

    run(work)


def test_closing_without_ever_having_loaded() -> None:
    async def work() -> None:
        async with bench() as it:
            await it.engine.close()
            assert it.load.begun == 0

    run(work)


# All together


@pytest.mark.parametrize("seed", range(3))
def test_many_come_and_leave_and_each_gets_its_own_answer_once(seed: int) -> None:
    import random

    chosen = random.Random(seed)

    async def work() -> None:
        async with bench(most_waiting=1000, keep_alive=chosen.choice([0.0, None])) as it:
            clients = {}
            for number in range(120):
                text = f"{number}"
                it.told.answer(text, f"to {text}")
                clients[text] = it.ask(text, who=str(number % 7))
                if chosen.random() < 0.3:
                    await asyncio.sleep(chosen.random() / 500)
                if chosen.random() < 0.3:
                    left = chosen.choice(sorted(clients))
                    clients[left].task.cancel()
            await asyncio.wait([client.task for client in clients.values()], timeout=DEADLINE)
            for text, client in clients.items():
                if not client.task.cancelled():
                    await client.ended()
                    assert client.text == f"to {text}"
            await until(lambda: not it.engine.is_busy)
            asked = sum(it.outcomes.values())
            never = sum(c.task.cancelled() and not c.events for c in clients.values())
            assert 120 - never <= asked <= 120
            assert it.engine.waiting == 0

    run(work)
