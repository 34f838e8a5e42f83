"""Lines over pipes: where they end, and that neither those that come nor those that go pile up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.serve.pipes import MOST_AHEAD, MOST_UNSENT, Coming, Going, GoneError, Pipes
from edgeproxy.serve.stdio import serve
from tests.helpers.stdio_fakes import LONG_PIECE, FakeEngine, service

ROUNDS = 5000
"""Rounds of a loop in which whatever does not wait would have gone far too far."""


@given(
    st.lists(st.binary(max_size=30) | st.integers(0, 300).map(lambda n: b"x" * n), max_size=12),
    st.integers(1, 50),
)
def test_lines_are_the_same_however_they_come(blocks: list[bytes], longest: int) -> None:
    whole = b"".join(blocks)
    wanted = [
        (number, line if len(line) <= longest else None)
        for number, line in enumerate(whole.split(b"\n"), 1)
        if line.strip() or len(line) > longest
    ]

    async def taken() -> list[tuple[int, bytes | None]]:
        coming = Coming.__new__(Coming)
        coming._longest = longest

        async def given_blocks() -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

        coming._taken = given_blocks  # type: ignore[method-assign,assignment]
        return [each async for each in coming.lines()]

    assert asyncio.run(taken()) == wanted


# A host that does not read


def pipe_capacity(descriptor: int) -> int:
    """Bytes that fit a pipe which nobody reads."""
    os.set_blocking(descriptor, False)
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += os.write(descriptor, b"\n" * 4096)
    os.set_blocking(descriptor, True)
    return size


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for each in ends:
        with contextlib.suppress(OSError):
            os.close(each)


@pytest.fixture
def capacity() -> int:
    out_of, into = os.pipe()
    try:
        return pipe_capacity(into)
    finally:
        os.close(out_of)
        os.close(into)


async def rounds() -> None:
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


def test_a_reply_pauses_while_nobody_reads(pipe: tuple[int, int], capacity: int) -> None:
    engine, (out_of, going) = FakeEngine(), pipe
    coming, into = os.pipe()
    most = (capacity + MOST_UNSENT) // len(LONG_PIECE) + 3

    async def run() -> None:
        serving = asyncio.create_task(serve(service(engine), Pipes(coming, going)))
        body = {"messages": [{"content": "Long"}], "stream": True}
        os.write(into, json.dumps({"id": "1", "do": "chat", "body": body}).encode() + b"\n")
        while not engine.pulled:
            await asyncio.sleep(0.001)
        await rounds()
        assert engine.pulled <= most
        before = engine.pulled
        while engine.pulled <= before + most:  # it goes on when it is read
            assert await asyncio.to_thread(os.read, out_of, 1 << 16)
        os.close(into)
        reading = asyncio.create_task(asyncio.to_thread(drain, out_of))
        await serving
        os.close(going)
        await reading

    asyncio.run(run())
    os.close(coming)
    assert engine.withdrawn.is_set()


def drain(descriptor: int) -> None:
    while os.read(descriptor, 1 << 16):
        pass


def test_what_is_not_taken_is_not_read_on(pipe: tuple[int, int], capacity: int) -> None:
    out_of, into = pipe
    os.set_blocking(into, False)

    async def run() -> None:
        coming = Coming(out_of, lambda: None)
        sent = 0
        for _ in range(ROUNDS):
            with contextlib.suppress(BlockingIOError):
                sent += os.write(into, b"x" * 4095 + b"\n")
            await asyncio.sleep(0)
        assert sent <= MOST_AHEAD + capacity + (1 << 17)
        os.close(into)
        assert len([each async for each in coming.lines()]) == -(-sent // 4096)

    asyncio.run(run())


def test_whoever_is_gone_gets_no_more(pipe: tuple[int, int]) -> None:
    out_of, going = pipe
    os.close(out_of)

    async def run() -> None:
        written = Going(going)
        await written.send({"a": 1})
        with pytest.raises(GoneError):
            await written.flush()
        with pytest.raises(GoneError):
            await written.send({"a": 1})
        await written.close()

    asyncio.run(run())


def test_a_line_that_is_too_long_is_not_held() -> None:
    block = b"x" * (1 << 20)

    async def run() -> list[tuple[int, bytes | None]]:
        coming = Coming.__new__(Coming)
        coming._longest = 1000

        async def taken() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield block
            yield b"\nab\n"

        coming._taken = taken  # type: ignore[method-assign,assignment]
        return [each async for each in coming.lines()]

    tracemalloc.start()
    try:
        assert asyncio.run(run()) == [(1, None), (2, b"ab")]
        assert tracemalloc.get_traced_memory()[1] < 10 * len(block)
    finally:
        tracemalloc.stop()
