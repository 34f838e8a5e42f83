"""A server of the page that answers what it is told to, to look at the page without models.

May touch: a port of its own on the loopback interface.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeproxy.explain import Explanation, as_json
from edgeproxy.serve.page.files import PAGE, POLICY, page_files

WAIT = 30.0
"""Seconds that a held reply waits at most, should a test forget it."""

CONTEXT = 1024

FIGURES = ("seconds", "tokens_per_second", "acceptance", "documents")
"""What a server tells of a reply, null where it does not know."""


@dataclass
class Reply:
    """What is answered to a question.

    - `explained`: the reply of the trio, and what each model said.
    - `alone`: what base and expert say, by role.
    - `before`: what comes before the reply: progress, a place in the queue.
    - `held_after`: so many tokens, then nothing until `PageServer.go_on` is set.
    - `broken_after`: so many tokens, then the connection breaks.
    - `error`: a status and a message in place of the reply; status 0 is in mid-stream.
    - `finish`: the finish reason; `more` is what the chunk with it tells besides.
    """

    explained: Explanation
    alone: Mapping[str, Sequence[str]] = field(default_factory=dict)
    before: Sequence[Mapping[str, Any]] = ()
    held_after: int | None = None
    broken_after: int | None = None
    error: tuple[int, str] | None = None
    finish: str = "stop"
    more: Mapping[str, Any] = field(default_factory=dict)


class PageServer(ThreadingHTTPServer):
    """Replies by the last question, and all requests that came."""

    daemon_threads = True

    def __init__(self, replies: dict[str, Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = replies
        self.about: dict[str, Any] = {
            "trio": "fake",
            "sentence": "This is a trio: a large base answers, and a small pair moves its choice.",
            "questions": list(replies)[:3],
            "docs": None,
            "alpha": 1.0,
            "explains": True,
        }
        self.key: str | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        self.go_on = threading.Event()
        self.cancels = True
        """Whether a reply ends where it is cancelled; else it goes on as if nobody had asked."""
        self.cancelled: list[str] = []
        self.stop = threading.Event()
        self.left = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is what some tests are about."""


@contextmanager
def page_server(replies: dict[str, Reply]) -> Iterator[PageServer]:
    """A server that runs for as long as this is open."""
    server = PageServer(replies)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = PAGE if self.path == "/" else self.path.removeprefix("/page/")
        if (found := page_files().get(name)) is not None:
            self._send(200, *found)
        elif self._may():
            if self.path == "/v1/edgeproxy/about":
                self._json(200, self.server.about)
            elif self.path == "/v1/models":
                self._json(200, {"object": "list", "data": self._models()})
            else:
                self._fail(404, "there is no such address")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may():
            return
        if self.path == "/v1/edgeproxy/cancel":
            self.server.cancelled.append(body["id"])
            if self.server.cancels:
                self.server.stop.set()
            self._json(200, {"id": body["id"], "cancelled": True})
            return
        self.server.stop.clear()
        self.server.asked.append((self.path, body))
        reply = self.server.replies[body["messages"][-1]["content"]]
        if reply.error and reply.error[0]:
            self._fail(*reply.error)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Reply-Id", f"reply-{len(self.server.asked)}")
        self.end_headers()
        try:
            self._stream(reply, body)
        except OSError:
            self.server.left.set()

    def _stream(self, reply: Reply, body: dict[str, Any]) -> None:
        role = body["model"].partition(":")[2]
        explained, finish = reply.explained, reply.finish
        words = reply.alone[role] if role else [each.text for each in explained.tokens]
        for event in reply.before:
            self._event(event)
        for n, word in enumerate(words):
            if n == reply.held_after and not self._hold():
                words, finish = words[:n], "cancelled"
                explained = replace(explained, tokens=explained.tokens[:n], text="".join(words))
                break
            if n == reply.broken_after:
                return
            self._event({"choices": [{"index": 0, "delta": {"content": word}}]})
        if reply.error:
            self._event({"error": {"message": reply.error[1], "type": "server_error"}})
            return
        more = {"finish_reason": finish, **dict.fromkeys(FIGURES), **reply.more}
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        self._event({"choices": [choice], "edgeproxy": more})
        if body.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 40, "completion_tokens": len(words)}
            self._event({"choices": [], "usage": usage})
        if self.path == "/v1/edgeproxy/explain":
            self._event(as_json(explained), "explanation")
        self.wfile.write(b"data: [DONE]\n\n")

    def _hold(self) -> bool:
        """Nothing more, but comments that show whether the browser is still there.

        False where the reply was cancelled.
        """
        for _ in range(int(WAIT / 0.02)):
            if self.server.stop.is_set():
                return False
            if self.server.go_on.wait(0.02):
                break
            self.wfile.write(b": still here\n\n")
        return True

    def _event(self, data: Mapping[str, Any], name: str = "") -> None:
        head = f"event: {name}\n" if name else ""
        self.wfile.write(f"{head}data: {json.dumps(data)}\n\n".encode())

    def _models(self) -> list[dict[str, Any]]:
        roles = ("", ":base", ":expert", ":anti-expert")
        name = self.server.about["trio"]
        return [{"id": f"{name}{role}", "context_length": CONTEXT} for role in roles]

    def _may(self) -> bool:
        self.server.keys.append(self.headers.get("Authorization"))
        may = self.server.key is None or self.server.keys[-1] == f"Bearer {self.server.key}"
        if not may:
            self._fail(401, "this server asks for a key.")
        return may

    def _fail(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def _json(self, status: int, data: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(data).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
