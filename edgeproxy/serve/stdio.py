"""JSON lines over standard input and output: the engine for a program that wants no port.

A host sends a request a line, and gets events of it, an object a line:

    {"id": "1", "do": "chat", "body": {"messages": [...], "stream": true}}
    {"id": "1", "event": "chunk", "data": {...}}
    {"id": "1", "event": "done"}

Each request gets one last event: "done" of a stream, "answer" of a plain call, "error", or
"cancelled". The end of the input is the end of the host: what is under way stops at once. `close`
lets it be finished.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeproxy import __version__
from edgeproxy.serve.events import Engine
from edgeproxy.serve.orders import CANCEL, CLOSE, COUNT, body_of, do_of, id_of, order_of
from edgeproxy.serve.pipes import (
    LONGEST_LINE,
    Coming,
    Going,
    GoneError,
    Pipes,
)
from edgeproxy.serve.protocol import Known, Read, RefusedError
from edgeproxy.serve.threads import in_thread
from edgeproxy.serve.wanted import Wanted
from edgeproxy.serve.writing import taken

Found = TypeVar("Found")

TOO_MANY = 429
"""The status of a request beyond `MOST_UNDER_WAY`."""

MOST_UNDER_WAY = 256
"""Requests that are under way at a time, those that wait for the engine included."""

WHO = "stdio"
"""The one host, as `Wanted.who` has it."""

EXPLANATION = "explanation"
"""The one message of a protocol that has an event of its own here."""


@dataclass(frozen=True)
class Service:
    """What can be asked for, and how.

    - `engine`: who answers.
    - `known`: what readers must know of it, as it is now.
    - `readers`: what reads the body of "chat", "completions", "responses", "explain".
    - `count_reader`, `counted`: what reads the body of "count", and what a number of tokens is told
      as.
    - `facts`: what "models" and "health" are answered.
    - `failed`: the status and the body of an error, of those too that nobody foresaw. It is called
      once for each, so it may note it down too.
    """

    engine: Engine
    known: Callable[[], Known]
    readers: Mapping[str, Read]
    count_reader: Callable[[Mapping[str, Any], Known, str], Wanted]
    counted: Callable[[int], Mapping[str, Any]]
    facts: Mapping[str, Callable[[], Mapping[str, Any]]]
    failed: Callable[[BaseException], tuple[int, Mapping[str, Any]]]


async def serve(service: Service, pipes: Pipes, longest_line: int = LONGEST_LINE) -> None:
    """Answer what comes until the input ends, nobody reads the answers, or the host closes.

    It says that it is ready when the engine can tell its vocabulary, so when the models are loaded.
    Raises what loading them raises, once it was told. The engine is left open.
    """
    await _Serving(service, pipes, longest_line).run()


class _Serving:
    """One host, from its first line to its last."""

    def __init__(self, service: Service, pipes: Pipes, longest_line: int) -> None:
        self._service = service
        self._longest_line = longest_line
        self._going = Going(pipes.going)
        self._coming = Coming(pipes.coming, self._at_end, longest_line)
        self._under_way: dict[str, asyncio.Task[Mapping[str, Any]]] = {}
        self._attending: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Lock()
        self._is_ready = asyncio.Event()
        self._is_closing = asyncio.Event()

    async def run(self) -> None:
        """As `serve`."""
        answering = asyncio.create_task(self._answer_all())
        hearing = asyncio.create_task(self._hear_all())
        gone = asyncio.create_task(self._going.is_gone.wait())
        try:
            ends = (answering, hearing, gone)
            while not answering.done() and not gone.done():
                if hearing.done() and not self._is_closing.is_set():
                    break
                left = [each for each in ends if not each.done()]
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for each in (hearing, answering):
                if each.done():
                    _raise_of(each)
        finally:
            tasks = (answering, hearing, gone, *self._attending, *self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._going.close()

    async def _answer_all(self) -> None:
        """Say when it is ready, and wait until a host that closes has got all its answers."""
        loading = asyncio.create_task(self._service.engine.vocab())
        await _ended(loading)
        if (error := loading.exception()) is not None:
            await self._going.send({"id": None, **self._error(error)})
            await self._going.flush()
            raise error
        name = self._service.known().name
        ready = {"event": "ready", "pid": os.getpid(), "trio": name, "version": __version__}
        await self._going.send(ready)
        self._is_ready.set()
        await self._is_closing.wait()
        while self._attending:
            await asyncio.wait(self._attending)
        await self._going.flush()

    # What comes

    def _at_end(self) -> None:
        """All has come; what was said before it may still be there to be heard."""
        if not self._is_closing.is_set():
            self._going.is_hurried = True

    async def _hear_all(self) -> None:
        """Take each line, until the input ends or the host closes."""
        async with aclosing(self._coming.lines()) as lines:
            async for number, line in lines:
                name: str | None = None
                try:
                    order = order_of(line, self._longest_line)
                    name = id_of(order, self._under_way)
                    self._take(order, name)
                except RefusedError as error:
                    place = {"id": name, "line": number}
                    await self._going.send(place | self._error(error))
                if self._is_closing.is_set():
                    return

    def _take(self, order: Mapping[str, Any], name: str | None) -> None:
        """Begin with what is asked for. Raises `RefusedError`."""
        do = do_of(order, (*self._service.readers, COUNT), self._service.facts)
        if do == CLOSE:
            self._is_closing.set()
            self._going.is_hurried = False
        elif do == CANCEL:
            if (task := self._under_way.get(order["id"])) is not None:
                task.cancel()
        elif name is not None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise RefusedError(
                    f"{MOST_UNDER_WAY} requests are under way; wait until one has ended",
                    None,
                    "queue_full",
                    TOO_MANY,
                )
            body = {} if do in self._service.facts else body_of(order)
            self._begin(name, self._work(name, do, body))

    # What is answered

    def _begin(self, name: str, work: Coroutine[Any, Any, Mapping[str, Any]]) -> None:
        self._under_way[name] = asyncio.create_task(work)
        attending = asyncio.create_task(self._attend(name))
        self._attending.add(attending)
        attending.add_done_callback(self._attending.discard)

    async def _attend(self, name: str) -> None:
        """Send the last event of a request; its id is free again once that will be written."""
        work = self._under_way[name]
        try:
            await _ended(work)
            if work.cancelled():
                last: Mapping[str, Any] = {"event": "cancelled"}
            elif (error := work.exception()) is None:
                last = work.result()
            elif isinstance(error, GoneError):
                return
            else:
                last = self._error(error)
            with suppress(GoneError):
                try:
                    await self._going.send({"id": name, **last})
                except (TypeError, ValueError) as error:  # it is no JSON
                    await self._going.send({"id": name, **self._error(error)})
        finally:
            del self._under_way[name]

    async def _work(self, name: str, do: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what a request asks for; its last event, without the id."""
        service = self._service
        await self._is_ready.wait()
        if do in service.facts:
            return _answer(service.facts[do]())
        if do == COUNT:
            wanted = await self._read(service.count_reader, body)
            return _answer(service.counted(await service.engine.count(wanted)))
        return await self._reply(name, do, body)

    async def _read(
        self, read: Callable[[Mapping[str, Any], Known, str], Found], body: Mapping[str, Any]
    ) -> Found:
        """What a body asks for; in a thread, for a schema in it may take long, and in order."""
        async with self._reading:
            known = self._service.known()
            return await in_thread(lambda: read(body, known, WHO), "edgeproxy reading")

    async def _reply(self, name: str, do: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        service = self._service
        request = await self._read(service.readers[do], body)
        writer = request.make_writer(await service.engine.vocab(request.wanted.draws))
        async with aclosing(service.engine.ask(request.wanted)) as events:
            async for event in events:
                for sent in await taken(writer, event, request.wanted):
                    # A bare word is the end of a stream of server-sent events.
                    if request.streams and not isinstance(sent.data, str):
                        kind = EXPLANATION if sent.event == EXPLANATION else "chunk"
                        await self._going.send({"id": name, "event": kind, "data": sent.data})
        return {"event": "done"} if request.streams else _answer(writer.whole())

    def _error(self, error: BaseException) -> dict[str, Any]:
        """The event that tells an error."""
        if isinstance(error, RecursionError):
            error = RefusedError("the body nests too deep", "body", "too_deep")
        status, body = self._service.failed(error)
        return {"event": "error", "data": {**body, "status": status}}


def _answer(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"event": "answer", "data": data}


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait for the end of `task`, whatever it is; one that is not waited for is cancelled."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        raise


def _raise_of(task: asyncio.Task[Any]) -> None:
    """Raise what `task` has ended with, unless it is that nobody reads."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, GoneError):
        raise error
