"""JSON lines over an engine that has no models, in a thread, or as a program of its own:

    python -m tests.helpers.stdio_fakes

What is done follows from the text of a request; see `FakeEngine.ask`.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, cast

from edgeproxy.core.utf8 import check_text
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import Piece
from edgeproxy.errors import EngineError, ModelFileError, UsageError
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.events import Ended, Event, Queued, Said
from edgeproxy.serve.pipes import LONGEST_LINE, Pipes, take_standard_streams
from edgeproxy.serve.protocol import Known, RefusedError, Request, Sent
from edgeproxy.serve.stdio import Service, serve
from edgeproxy.serve.wanted import Answers, Wanted
from tests.helpers.fakes import fake_vocab
from tests.helpers.openai_events import FakeTurn

REPLY = ("Hi, ", "how ", "are you", "?")
LONG_PIECE = "x" * 1000
GUARD_SECONDS = 60
"""A test that waits for so long has failed."""


class FakeEngine:
    """Answers as the text of the last message says; what it has done is noted."""

    def __init__(self, *, loads: bool = True, fails: bool = False) -> None:
        self.began = threading.Event()
        self.withdrawn = threading.Event()
        self.may_read = threading.Event()
        """Until then a request with "slow" in its body is read."""
        self.pulled = 0
        """Pieces that were taken of it."""
        self.counts_who: list[str] = []
        self._loads = loads
        self._fails = fails

    async def ask(self, wanted: Wanted) -> AsyncGenerator[Event, None]:
        """Wait for ever, go on for ever, fail, print, or say something."""
        self.counts_who.append(wanted.who)
        what = wanted.messages[-1].content
        is_whole = False
        try:
            yield Queued(1)
            self.began.set()
            if what == "Wait":
                await asyncio.Event().wait()
            while what == "Long":
                self.pulled += 1
                yield _said(LONG_PIECE)
                await asyncio.sleep(0)
            if what == "Print":
                print("this is no event", flush=True)
                os.write(1, b"nor is this\n")
            for text in REPLY:
                yield _said(text)
                if what == "Fail":
                    raise EngineError("the engine failed")
                if what == "Bug":
                    raise KeyError(what)
            is_whole = True
            yield Ended("stop", cast(Any, FakeTurn()), cast(Any, None))
        finally:
            if not is_whole:
                self.withdrawn.set()

    async def count(self, wanted: Wanted) -> int:
        """A token for each character."""
        return sum(len(message.content) for message in wanted.messages)

    def cancel(self, name: str) -> bool:
        """No request has a name here."""
        raise AssertionError(name)

    async def vocab(self, answers: Answers = "trio") -> Vocab:
        """That of the fakes, unless the models never come or fail to."""
        if self._fails:
            raise ModelFileError("base.gguf", "it is damaged")
        if not self._loads:
            await asyncio.Event().wait()
        return fake_vocab()


def _said(text: str) -> Said:
    return Said(Piece(text, 0, -1.0))


class FakeWriter:
    """Writes texts. "odd" in a body has it write what is no JSON."""

    def __init__(self, is_odd: bool, explains: bool, _vocab: Vocab) -> None:
        self._is_odd = is_odd
        self._explains = explains
        self._text = ""

    def take(self, event: Event) -> list[Sent]:
        """A chunk for each text, an explanation where one was asked for, and the end."""
        if isinstance(event, Said):
            self._text += event.piece.text
            delta = {"delta": {"content": event.piece.text}}
            return [Sent({"choices": [delta], **self._odd()}, "a.name")]
        if isinstance(event, Ended):
            explained = [Sent({"tokens": []}, "explanation")] if self._explains else []
            return [*explained, Sent("[DONE]")]
        return []

    def whole(self) -> dict[str, Any]:
        """The text."""
        return {"text": self._text, **self._odd()}

    def failed(self, error: BaseException) -> list[Sent]:
        """Not asked for."""
        raise AssertionError(error)

    def _odd(self) -> dict[str, float]:
        return {"odd": float("nan")} if self._is_odd else {}


def read(explains: bool, body: Mapping[str, Any], known: Known, who: str) -> Request:
    """A request of `{"messages": [{"content": TEXT}], "stream": false}`, and little else."""
    wanted = read_wanted(body, known, who)
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise RefusedError("stream must be true or false", "stream")
    return Request(wanted, stream, partial(FakeWriter, "odd" in body, explains))


def read_wanted(body: Mapping[str, Any], known: Known, who: str) -> Wanted:
    """What is wanted, of the same."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError("messages must be a list", "messages")
    texts = [each.get("content") if isinstance(each, dict) else None for each in messages]
    if not all(isinstance(text, str) for text in texts):
        raise RefusedError("content must be a text", "messages")
    return Wanted(
        tuple(Message("user", check_text(cast(str, text), "content")) for text in texts), who=who
    )


def failed(error: BaseException) -> tuple[int, Mapping[str, Any]]:
    """A status and a body."""
    status = error.status if isinstance(error, RefusedError) else 500
    if isinstance(error, UsageError) and status == 500:
        status = 400
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    message = str(error).encode("ascii", "backslashreplace").decode("ascii")
    kind = type(error).__name__
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def service(engine: FakeEngine) -> Service:
    """What a host can ask for."""
    known = Known("fake", ("base",), 100, 50, False)

    def read_chat(body: Mapping[str, Any], known: Known, who: str) -> Request:
        if "slow" in body:
            engine.may_read.wait(GUARD_SECONDS)
        return read(False, body, known, who)

    return Service(
        engine,
        lambda: known,
        {
            "chat": read_chat,
            "completions": partial(read, False),
            "responses": partial(read, False),
            "explain": partial(read, True),
        },
        read_wanted,
        lambda tokens: {"input_tokens": tokens},
        {"models": lambda: {"data": ["fake"]}, "health": lambda: {"status": "ok"}},
        failed,
    )


class Host:
    """A host in this process: what it says goes to `serve`, which runs in a thread."""

    def __init__(self, engine: FakeEngine | None = None, longest_line: int = LONGEST_LINE) -> None:
        self.engine = engine or FakeEngine()
        self.raised: BaseException | None = None
        coming, self._into = os.pipe()
        self.out_of, going = os.pipe()
        self._pipes = Pipes(coming, going)
        self._open = {coming, self._into, self.out_of, going}
        self._longest_line = longest_line
        self._heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.stop_reading()
        self.join()
        for each in [*self._open]:
            self._close(each)

    def say(self, line: bytes | Mapping[str, Any]) -> None:
        """Send a line."""
        data = line if isinstance(line, bytes) else json.dumps(line).encode()
        data += b"\n"
        while data:
            data = data[os.write(self._into, data) :]

    def ask(self, name: str, text: str = "Hello", do: str = "chat", **body: Any) -> None:
        """Send a request with one message."""
        body = {"messages": [{"content": text}], **body}
        self.say({"id": name, "do": do, "body": body})

    def hear(self) -> dict[str, Any]:
        """The next event."""
        if self._reader is None:
            self._start_reading()
        event = self._heard.get(timeout=GUARD_SECONDS)
        assert event is not None, "the server has ended"
        return event

    def hear_of(self, name: str) -> list[dict[str, Any]]:
        """The events of one request, to its last; others are passed over."""
        events = []
        while True:
            event = self.hear()
            if event.get("id") == name:
                events.append(event)
                if event["event"] in ("done", "answer", "error", "cancelled"):
                    return events

    def end(self) -> None:
        """End the input."""
        self._close(self._into)

    def stop_reading(self) -> None:
        """Close the output at this end, unless it is being read, so that it ends with the other."""
        if self._reader is None:
            self._close(self.out_of)

    def join(self) -> None:
        """Wait until the server has ended, and its threads, which the end of its input ends."""
        self._server.join(GUARD_SECONDS)
        assert not self._server.is_alive()
        for thread in threading.enumerate():
            if thread.name in ("edgeproxy input", "edgeproxy output"):
                thread.join(GUARD_SECONDS)
                assert not thread.is_alive()

    def rest(self) -> list[dict[str, Any]]:
        """All events that were not heard, to the end; the input is ended where it has not been."""
        if self._reader is None:
            self._start_reading()
        self._server.join(GUARD_SECONDS)
        self.end()
        self.join()
        self._close(self._pipes.going)
        return [*iter(lambda: self._heard.get(timeout=GUARD_SECONDS), None)]

    def _serve(self) -> None:
        try:
            asyncio.run(serve(service(self.engine), self._pipes, self._longest_line))
        except BaseException as error:  # noqa: BLE001 - a test looks at it
            self.raised = error

    def _start_reading(self) -> None:
        self._reader = threading.Thread(target=self._hear, daemon=True)
        self._reader.start()

    def _hear(self) -> None:
        with os.fdopen(os.dup(self.out_of), "rb") as lines:
            for line in lines:
                self._heard.put(json.loads(line))
        self._heard.put(None)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.discard(descriptor)
            os.close(descriptor)


def main() -> None:
    """Serve the host that started this program."""
    asyncio.run(serve(service(FakeEngine()), take_standard_streams()))


if __name__ == "__main__":
    main()
