"""Events on their way from a thread to a client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgeproxy.decode.pieces import Piece
from edgeproxy.errors import EngineError, TooSlowError
from edgeproxy.serve.events import Event, Loading, Queued, Reading, Said
from edgeproxy.serve.mailbox import Mailbox

LONG = 1000.0


def said(number: int) -> Said:
    return Said(Piece(str(number), number, None))


def mailbox(room: int = 1000, patience: float = LONG) -> tuple[Mailbox, list[TooSlowError]]:
    lost: list[TooSlowError] = []
    return Mailbox(room, patience, lost.append), lost


async def all_of(box: Mailbox) -> list[Event]:
    found = []
    while (event := await box.take()) is not None:
        found.append(event)
    return found


def test_all_that_a_thread_puts_is_taken_in_order() -> None:
    async def work() -> None:
        box, lost = mailbox()

        def put() -> None:
            for number in range(5000):
                box.put(said(number))
            box.end()

        threading.Thread(target=put).start()
        assert await all_of(box) == [said(number) for number in range(5000)]
        assert await box.take() is None
        assert lost == []

    asyncio.run(work())


def test_of_what_changes_the_latest_is_kept() -> None:
    async def work() -> None:
        box, _ = mailbox()
        for event in (
            *(Queued(3), Loading("base", 0.1), Queued(2), Loading("base", 0.4)),
            *(Reading(0, 9), Reading(5, 9), said(1), said(1)),
        ):
            box.put(event)
        box.end()
        kept = [Queued(2), Loading("base", 0.4), Reading(5, 9), said(1), said(1)]
        assert await all_of(box) == kept

    asyncio.run(work())


def test_an_error_comes_after_what_was_said_and_once_ended_nothing_follows() -> None:
    async def work() -> None:
        box, _ = mailbox()
        box.put(said(1))
        box.end(EngineError("it failed"))
        box.end(EngineError("again"))
        box.put(said(2))
        assert await box.take() == said(1)
        with pytest.raises(EngineError, match="it failed"):
            await box.take()

    asyncio.run(work())


def test_a_thread_waits_for_room_until_something_is_taken_or_it_is_closed() -> None:
    async def work() -> None:
        box, _ = mailbox(room=2)
        answers: list[bool] = []

        def put() -> None:
            number = 0
            while box.wait_for_room():
                box.put(said(number))
                number += 1
                answers.append(True)
            answers.append(False)

        thread = threading.Thread(target=put)
        thread.start()
        for number in range(10):
            assert await box.take() == said(number)
        assert len(answers) <= 12
        box.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
        assert answers[-1] is False

    asyncio.run(work())


def test_who_takes_nothing_loses_it_and_hears_why() -> None:
    async def work() -> None:
        box, lost = mailbox(room=1, patience=0.05)
        box.put(said(1))
        has_room = asyncio.to_thread(box.wait_for_room)
        assert await has_room is False
        assert len(lost) == 1
        box.put(said(2))
        with pytest.raises(TooSlowError, match=r"0\.05 seconds"):
            await box.take()

    asyncio.run(work())


class Clock:
    """The part of a loop that a mailbox uses, whose time a test passes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return self.now

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        self.calls.append((self.now + seconds, call))
        return None

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(0)  # what was put is heard of
        self.now += seconds
        while due := [each for each in self.calls if each[0] <= self.now]:
            self.calls.remove(due[0])
            due[0][1]()


def timed(patience: float) -> tuple[Mailbox, list[TooSlowError], Clock]:
    box, lost = mailbox(patience=patience)
    clock = Clock()
    box._loop = clock  # type: ignore[assignment]
    return box, lost, clock


def test_who_is_behind_but_takes_now_and_then_loses_nothing() -> None:
    async def work() -> None:
        box, lost, clock = timed(patience=30.0)
        for number in range(8):
            box.put(said(number))
        for number in range(7):
            await clock.passes(29.0)
            assert await box.take() == said(number)
        await clock.passes(29.0)
        assert lost == []
        await clock.passes(2.0)
        assert len(lost) == 1
        with pytest.raises(TooSlowError):
            await box.take()

    asyncio.run(work())


def test_who_waits_for_what_has_not_come_is_not_slow() -> None:
    async def work() -> None:
        box, lost, clock = timed(patience=30.0)
        taking = asyncio.create_task(box.take())
        await clock.passes(100.0)
        box.put(said(1))
        assert await taking == said(1)
        await clock.passes(100.0)  # nothing is here that could be taken
        box.put(said(2))
        await clock.passes(29.0)
        assert await box.take() == said(2)
        await clock.passes(100.0)
        assert lost == []

    asyncio.run(work())


def test_who_waited_for_what_came_at_once_and_takes_but_one_of_it_is_behind() -> None:
    async def work() -> None:
        box, lost, clock = timed(patience=30.0)
        taking = asyncio.create_task(box.take())
        await clock.passes(0.0)
        for number in range(3):
            box.put(said(number))
        box.end()
        assert await taking == said(0)
        await clock.passes(29.0)
        assert lost == []
        await clock.passes(2.0)
        assert len(lost) == 1
        with pytest.raises(TooSlowError):
            await box.take()

    asyncio.run(work())


def test_a_thread_does_not_wait_for_a_loop_that_has_ended() -> None:
    boxes: list[Mailbox] = []

    async def work() -> None:
        box, _ = mailbox(room=1)
        box.put(said(1))
        boxes.append(box)

    asyncio.run(work())
    assert boxes[0].wait_for_room() is False
    boxes[0].put(said(2))
    boxes[0].end()
