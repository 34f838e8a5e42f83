"""Replies and loading for asyncio: the loop goes on, and a cancelled task cancels its reply."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import edgeproxy
from edgeproxy.core.cancel import Cancel
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import BusyError, Cancelled, ContextFullError
from edgeproxy.session import load_async as loading
from edgeproxy.session.asynchronous import pieces_of
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Turn
from tests.helpers.fakes import FakeModel
from tests.session.test_turn import session_of, trio_saying

SECONDS = 0.01


def slow_session() -> Session:
    """Each token takes a while, and a reply has no end."""

    def row(_history: object) -> Any:
        time.sleep(SECONDS)
        found = np.zeros(260, np.float32)
        found[65] = 1.0
        return found

    return session_of(Trio(FakeModel(row), FakeModel(), FakeModel()))


async def text_of(turn: Turn) -> str:
    return "".join([piece.text async for piece in turn])


def test_a_reply_is_the_same() -> None:
    session = session_of(trio_saying())
    assert asyncio.run(text_of(session.reply("Hello"))) == "Hi, how are you?"
    talk = session.conversation()

    async def both() -> list[str]:
        return [await text_of(talk.say("Hello")), await text_of(talk.say("Bye"))]

    assert asyncio.run(both()) == ["Hi, how are you?", "See you soon."]
    assert len(talk.messages) == 4


def test_an_error_is_raised_where_it_is_awaited() -> None:
    session = session_of(trio_saying(n_ctx=64))
    with pytest.raises(ContextFullError):
        asyncio.run(text_of(session.reply("x" * 100)))
    assert asyncio.run(text_of(session.reply("Hello"))) == "Hi, how are you?"


def test_the_loop_goes_on_while_a_model_works() -> None:
    session = slow_session()

    async def work() -> tuple[int, str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        text = await text_of(session.reply("Hello", max_tokens=20))
        ticking.cancel()
        return ticks, text

    ticks, text = asyncio.run(work())
    assert text == "A" * 20
    assert ticks > 40


def test_a_task_that_is_cancelled_cancels_its_reply_and_frees_the_models() -> None:
    session = slow_session()
    turns: list[Turn] = []

    async def read() -> None:
        turns.append(session.reply("Hello", max_tokens=3000))
        await text_of(turns[0])

    async def work() -> str:
        task = asyncio.create_task(read())
        while not turns or not turns[0].text:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await text_of(session.reply("Hello", max_tokens=3))

    assert asyncio.run(work()) == "AAA"
    assert len(turns[0].text) < 3000


def test_a_reader_that_breaks_off_ends_its_reply() -> None:
    session = slow_session()

    async def work() -> int:
        turn = session.reply("Hello", max_tokens=3000)
        reading = turn.__aiter__()
        async for _ in reading:
            break
        await reading.aclose()  # type: ignore[attr-defined]
        assert await text_of(session.reply("Hello", max_tokens=3)) == "AAA"
        return len(turn.text)

    assert asyncio.run(work()) < 100


def test_two_tasks_are_busy_or_wait() -> None:
    session = slow_session()

    async def work() -> None:
        turn = session.reply("Hello", max_tokens=30)
        first = asyncio.create_task(text_of(turn))
        while not turn.text:
            await asyncio.sleep(0.01)
        with pytest.raises(BusyError):
            await text_of(session.reply("Hello", max_tokens=3))
        late = asyncio.create_task(text_of(session.reply("Hello", max_tokens=3, wait=True)))
        assert await first == "A" * 30
        assert await late == "AAA"

    asyncio.run(work())


def test_no_thread_is_left() -> None:
    session = slow_session()
    before = threading.active_count()

    async def work() -> None:
        tasks = [
            asyncio.create_task(text_of(session.reply("Hello", max_tokens=3, wait=True)))
            for _ in range(20)
        ]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())
    assert threading.active_count() <= before + 1  # the last one may be about to end


def test_a_reply_whose_loop_ends_is_cancelled() -> None:
    session = slow_session()

    async def work() -> Turn:
        turn = session.reply("Hello", max_tokens=3000)
        asyncio.get_running_loop().create_task(text_of(turn))
        while not turn.text:
            await asyncio.sleep(0.01)
        return turn

    turn = asyncio.run(work())
    assert turn.finish_reason in (None, "cancelled")
    assert len(turn.text) < 3000


def test_pieces_are_made_as_they_are_taken() -> None:
    made = 0

    class Reply:
        def __iter__(self) -> Iterator[Piece]:
            nonlocal made
            for _ in range(1000):
                made += 1
                yield Piece("x", 1, 0.0)

        def cancel(self) -> None:
            pass

        def close(self) -> None:
            pass

    async def work() -> int:
        async for _ in pieces_of(Reply()):
            await asyncio.sleep(0.2)
            return made
        return 0

    assert asyncio.run(work()) <= 10


def test_loading_has_the_arguments_of_load() -> None:
    assert inspect.signature(edgeproxy.load_async) == inspect.signature(edgeproxy.load)
    assert inspect.iscoroutinefunction(edgeproxy.load_async)


def test_a_task_that_is_cancelled_stops_loading() -> None:
    began, heard = threading.Event(), threading.Event()

    def load(name: str, *, cancel: Cancel | None = None) -> Session:
        assert name == "a"
        assert cancel is not None
        began.set()
        for _ in range(1000):
            if cancel.is_set():
                heard.set()
                raise Cancelled("loading was cancelled")
            time.sleep(0.01)
        return session_of(trio_saying())

    async def work() -> None:
        task = asyncio.create_task(loading._in_thread(load)("a"))
        while not began.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert heard.is_set()
