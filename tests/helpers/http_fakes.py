"""An engine and a protocol of a few lines, and a server over them, for tests of HTTP.

A request is {"text": "...", "stream": false}; its first word says what happens (see `FakeEngine`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import httpx

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import Piece
from edgeproxy.errors import ContextFullError, QueueFullError, WorkerError
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.events import Ended, Event, Queued, Reading, Said
from edgeproxy.serve.http.app import Health, Parts, make_app
from edgeproxy.serve.http.figures import figure
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.limits import LIMITS, Limits
from edgeproxy.serve.http.listening import at_port
from edgeproxy.serve.http.running import Running
from edgeproxy.serve.protocol import Known, RefusedError, Request, Sent
from edgeproxy.serve.wanted import Answers, Wanted
from tests.helpers.fakes import fake_vocab
from tests.helpers.openai_events import FakeTurn

KEY = "a-key-that-nobody-may-see"
ASK = "/v1/ask"
COUNT = "/v1/count"
JSON = {"Content-Type": "application/json"}
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
SECRET = "/home/somebody/secret.gguf"
"""What an error of the server's own tells, and no client may see."""


@dataclass
class State:
    word: Any = "ready"
    what: str = "base"
    share: float = 0.5


class FakeEngine:
    """Says the words of a request; the first may be one of these:

    wait: nothing comes until the client leaves. endless: words without end. full: too many wait.
    break: it fails after a word. bug: so it does by a fault of ours. reads: the prompt is read for
    long. long: the prompt is too long.
    """

    def __init__(self) -> None:
        self.asked: list[Wanted] = []
        self.left: list[str] = []
        self.said = 0
        self.closed: list[float] = []
        self.state = State()
        self.doubts: tuple[str, ...] = ()
        self.load: Callable[[], object] = lambda: None
        self.load_seconds = self.close_seconds = 0.0

    async def ask(self, wanted: Wanted) -> AsyncGenerator[Event, None]:
        self.asked.append(wanted)
        text = wanted.messages[0].content
        word = text.partition(" ")[0]
        if word == "full":
            raise QueueFullError("too many wait", 7)
        if word == "long":
            raise ContextFullError("the prompt has too many tokens")
        try:
            yield Queued(0)
            if word == "wait":
                await asyncio.Event().wait()
            if word == "reads":
                for n in range(1, 100_000):
                    yield Reading(n, 100_000)
                    await asyncio.sleep(0.01)
            if word == "endless":
                while True:
                    self.said += 1
                    yield Said(Piece("x" * 4096, 1, -1.0))
                    await asyncio.sleep(0)
            yield Said(Piece(text, 1, -1.0))
            if word == "break":
                raise WorkerError(f"the process for {SECRET} ended")
            if word == "bug":
                raise ZeroDivisionError(SECRET)
            yield Ended("stop", cast(Any, FakeTurn()), cast(Any, None))
        except (GeneratorExit, asyncio.CancelledError):
            self.left.append(text)
            raise

    def cancel(self, name: str) -> bool:
        return False

    async def count(self, wanted: Wanted) -> int:
        return len(wanted.messages[0].content)

    async def vocab(self, answers: Answers = "trio") -> Vocab:
        await asyncio.sleep(self.load_seconds)
        self.load()
        return fake_vocab()

    def start(self) -> None:
        pass

    async def close(self, grace: float) -> None:
        self.closed.append(grace)
        await asyncio.sleep(self.close_seconds)


class FakeWriter:
    def __init__(self) -> None:
        self.text = ""

    def take(self, event: Event) -> list[Sent]:
        if isinstance(event, Said):
            self.text += event.piece.text
            return [Sent({"text": event.piece.text})]
        return [Sent("[DONE]")] if isinstance(event, Ended) else []

    def whole(self) -> dict[str, Any]:
        return {"text": self.text}

    def failed(self, error: BaseException) -> list[Sent]:
        return [Sent(answer(error).body, "error"), Sent("[DONE]")]


def read(body: Mapping[str, Any], known: Known, who: str) -> Request:
    for name in body:
        if name not in ("text", "stream"):
            raise RefusedError(f"{name!r}: there is no such field", name, "unknown_parameter")
    text, streams = body.get("text"), body.get("stream", False)
    if not isinstance(text, str) or not isinstance(streams, bool):
        raise RefusedError("text is text, stream is true or false", "text")
    wanted = Wanted((Message("user", text),), who=who)
    return Request(wanted, streams, lambda _vocab: FakeWriter())


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    is_foreseen: bool = True


def answer(error: BaseException) -> Answer:
    def said(
        status: int, what: str, headers: Mapping[str, str] | None = None, is_foreseen: bool = True
    ) -> Answer:
        code = getattr(error, "code", None)
        body = {"message": what, "type": "fake", "param": None, "code": code}
        return Answer(status, {"error": body}, headers or {}, is_foreseen)

    match error:
        case RefusedError():
            return said(error.status, str(error))
        case QueueFullError():
            return said(429, str(error), {"Retry-After": str(error.retry_after)})
        case ContextFullError():
            return said(400, str(error))
        case WorkerError():
            return said(500, "the process of the models ended")
    return said(500, "the server failed", is_foreseen=False)


def parts_of(engine: FakeEngine) -> Parts:
    def one(name: str, known: Known) -> Any:
        if name != known.name:
            raise RefusedError("there is no such model", "model", "model_not_found", 404)
        return {"id": name}

    return Parts(
        engine=engine,
        known=lambda: Known("fake:trio", ("base",), 100, 10, False, fake_vocab()),
        readers={ASK: read},
        answer=answer,
        models=lambda known: {"data": [one(known.name, known)]},
        model=one,
        health=lambda: Health(engine.state.word, engine.state.share),
        document=lambda: {"openapi": "3.1.0"},
        about=lambda: {"trio": "fake"},
        counters={COUNT: lambda body, known, who: read(body, known, who).wanted},
        counted=lambda tokens: {"tokens": tokens},
        figures=lambda: [figure("asked_total", "Requests.", "counter", len(engine.asked))],
        refused={"/v1/embeddings": lambda: RefusedError("none here", None, None, 501)},
        files={
            "page.html": ("text/html; charset=utf-8", b"<!doctype html>"),
            "explain/main.js": ("text/javascript; charset=utf-8", b"1;"),
        },
    )


@dataclass
class Asking:
    """An application without a network, and its engine."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    allowed: Guards = field(default_factory=lambda: Guards(KEY))
    limits: Limits = LIMITS
    host: str = "127.0.0.1:8080"

    def __post_init__(self) -> None:
        self.app = make_app(parts_of(self.engine), self.allowed, self.limits)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """What a request without a key is answered."""
        return asyncio.run(self._ask(method, path, options))

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{self.host}") as client:
            return await client.request(method, path, **options)

    def post(self, value: object, path: str = ASK, **headers: str) -> httpx.Response:
        """What a request with the key is answered."""
        return self.ask("POST", path, json=value, headers=WITH_KEY | headers)


@dataclass
class Server:
    """A server that runs in a thread; `engine` may be looked at."""

    engine: FakeEngine
    port: int
    running: Running

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(allowed: Guards | None = None, limits: Limits = LIMITS) -> Iterator[Server]:
    """A server at a port of this machine, which has ended afterwards."""
    engine = FakeEngine()
    app = make_app(parts_of(engine), allowed or Guards(KEY), limits)
    with at_port("127.0.0.1", 0) as listening:
        running = Running(app, engine.close, limits, grace=0.0)
        thread = threading.Thread(target=lambda: asyncio.run(running.run_on(listening.socket)))
        thread.start()
        try:
            assert listening.port is not None
            yield Server(engine, listening.port, running)
        finally:
            running.stop()
            thread.join(120.0)
            assert not thread.is_alive()
