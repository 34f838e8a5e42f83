"""A request is answered, whole or as a stream of events, until its client leaves.

A stream is server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
While nothing comes it has a comment every few seconds, so that everybody on the way sees it alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from edgeproxy.serve.events import Engine, Event, Loading, Queued
from edgeproxy.serve.http.asgi import GoneError, as_json, headers_of, send_json
from edgeproxy.serve.http.body import read_json
from edgeproxy.serve.http.faults import REQUEST, Answer, note
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.protocol import Known, Read, Request, Sent, Writer
from edgeproxy.serve.wanted import Wanted
from edgeproxy.serve.writing import taken

ReadCount = Callable[[Mapping[str, Any], Known, str], Wanted]
"""Reads a body whose tokens are to be counted; see `protocol.Read`."""

SIGN_OF_LIFE = b": \n\n"
"""A comment; clients leave it out."""

_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # What is between must pass each event on at once.
    (b"x-accel-buffering", b"no"),
]
_LONGEST_WHO = 80

REPLY_ID = "x-reply-id"
"""The header that says what a reply is called, before anything of it is said."""

Found = TypeVar("Found")


class Asked:
    """What serves one path: reads the request, asks the engine, writes what comes of it."""

    def __init__(
        self,
        engine: Engine,
        known: Callable[[], Known],
        limits: Limits,
        answer: Answer,
        read: Read,
    ) -> None:
        self._engine = engine
        self._known = known
        self._limits = limits
        self._answer = answer
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it. Raises as the reader and the engine do."""
        body = await read_json(receive, self._limits)
        await unless_gone(receive, self._serve(body, scope, send))

    async def _serve(self, body: Mapping[str, Any], scope: Scope, send: Send) -> None:
        # In a thread, for a schema in it may take long to be read.
        request = await asyncio.to_thread(self._read, body, self._known(), who(scope))
        if request.streams:
            await self._stream(request, scope, send)
        else:
            await send_json(send, 200, await self._whole(request), {REPLY_ID: request.wanted.id})

    async def _whole(self, request: Request) -> dict[str, Any]:
        taking = Taking(self._engine, request, self._known)
        async with contextlib.aclosing(self._engine.ask(request.wanted)) as events:
            async for event in events:
                await taking.take(event)
        return (await taking.writer()).whole()

    async def _stream(self, request: Request, scope: Scope, send: Send) -> None:
        taking = Taking(self._engine, request, self._known)
        stream = EventStream(send, request.wanted.id)
        living = asyncio.ensure_future(stream.live(self._limits))
        try:
            async with contextlib.aclosing(self._engine.ask(request.wanted)) as events:
                async for event in events:
                    await stream.put(await taking.take(event))
            await stream.end()
        except Exception as error:  # a stream that has begun tells it itself
            if not stream.has_begun:
                raise
            answered = self._answer(error)
            note(scope[REQUEST], error, answered)
            made = taking.made
            said = made.failed(error) if made is not None else [Sent(answered.body)]
            await stream.put(said)
            await stream.end()
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


class Counted:
    """What serves a path that counts the tokens of a request; `shape` makes it an answer."""

    def __init__(
        self,
        engine: Engine,
        known: Callable[[], Known],
        limits: Limits,
        read: ReadCount,
        shape: Callable[[int], dict[str, Any]],
    ) -> None:
        self._engine = engine
        self._known = known
        self._limits = limits
        self._read = read
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it. Raises as the reader and the engine do."""
        body = await read_json(receive, self._limits)
        tokens = await unless_gone(receive, self._count(body, who(scope)))
        await send_json(send, 200, self._shape(tokens))

    async def _count(self, body: Mapping[str, Any], asking: str) -> int:
        wanted = await asyncio.to_thread(self._read, body, self._known(), asking)
        return await self._engine.count(wanted)


class Taking:
    """The writer of one reply, made once the vocabulary is there.

    Before the models were loaded nobody knows that; what comes until then is kept, of each kind the
    latest.
    """

    def __init__(self, engine: Engine, request: Request, known: Callable[[], Known]) -> None:
        self._engine = engine
        self._request = request
        self._known = known
        self._early: dict[type[Event], Event] = {}
        self.made: Writer | None = None
        """The writer, if there is one."""

    async def take(self, event: Event) -> Sequence[Sent]:
        """What is sent for this event. Raises as `Engine.vocab` does."""
        is_early = self.made is None and isinstance(event, Queued | Loading)
        is_known = self._request.wanted.draws == "trio" and self._known().vocab is not None
        if is_early and not is_known:
            self._early[type(event)] = event
            return ()
        if self.made is not None:
            return await taken(self.made, event, self._request.wanted)
        writer = await self.writer()
        early = [sent for each in self._early.values() for sent in writer.take(each)]
        return [*early, *await taken(writer, event, self._request.wanted)]

    async def writer(self) -> Writer:
        """The writer. Raises as `Engine.vocab` does."""
        if self.made is None:
            vocab = await self._engine.vocab(self._request.wanted.draws)
            self.made = self._request.make_writer(vocab)
        return self.made


class EventStream:
    """Server-sent events to one client, which begin with the first of them or with a sign of life.

    What a client does not take keeps the next event waiting: nothing is kept for it here. `name` is
    what the reply is called.
    """

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._headers = [*_EVENTS, (REPLY_ID.encode("ascii"), name.encode("ascii"))]
        self._one_at_a_time = asyncio.Lock()
        self._latest = 0.0
        self.has_begun = False
        """Whether the answer's status is sent."""

    async def put(self, messages: Sequence[Sent]) -> None:
        """Send these."""
        if messages:
            await self._write(b"".join(map(framed, messages)))

    async def end(self) -> None:
        """Send the end. Nothing may follow."""
        await self._write(b"", more=False)

    async def live(self, limits: Limits) -> None:
        """Begin after a while, and send a sign of life whenever nothing else was sent for long."""
        await asyncio.sleep(limits.start_seconds)
        while True:
            if time.monotonic() - self._latest >= limits.beat_seconds or not self.has_begun:
                await self._write(SIGN_OF_LIFE)
            await asyncio.sleep(limits.beat_seconds)

    async def _write(self, data: bytes, more: bool = True) -> None:
        async with self._one_at_a_time:
            if not self.has_begun:
                self.has_begun = True
                start = {"type": "http.response.start", "status": 200, "headers": self._headers}
                await self._send(start)
            self._latest = time.monotonic()
            await self._send({"type": "http.response.body", "body": data, "more_body": more})


def framed(sent: Sent) -> bytes:
    """A message as server-sent events have it. Raises `ValueError` for NaN and infinity."""
    data = sent.data.encode("utf-8") if isinstance(sent.data, str) else as_json(sent.data)
    event = b"" if sent.event is None else b"event: " + sent.event.encode("ascii") + b"\n"
    return event + b"data: " + data + b"\n\n"


def who(scope: Scope) -> str:
    """Whom a request is counted for: an address, and the program there by what it calls itself.

    Programs on this machine all have one address. One that takes many names gets more turns, and
    still no more than the queue has room for.
    """
    client = scope.get("client")
    agents = headers_of(scope, b"user-agent")
    agent = agents[0].decode("latin-1") if agents else ""
    return f"{client[0] if client else ''} {agent[:_LONGEST_WHO]}"


async def unless_gone(receive: Receive, work: Awaitable[Found]) -> Found:
    """What `work` comes to. Where the client leaves before, it is cancelled at once.

    The request's body must have been read. Raises `GoneError` then, and whatever `work` raises.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GoneError
        return working.result()
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
