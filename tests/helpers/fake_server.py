"""A small HTTP server on this machine that answers as it is told, and notes what it was asked.

with fake_server(lambda request: {"echo": request.json}) as server:
    server.script(Reply(429, headers={"Retry-After": "0"}))   # of the next request alone
    Server(server.url).post("/completion", {"prompt": [1]})
    assert [request.path for request in server.requests] == ["/completion"] * 2
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """A request that came. `port` is the client's, so that equal ones are of one connection.

    `left` is set once the client has gone away before its answer, during a `Reply.delay`.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        """The value in its body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer: JSON, or `body` as it is, or `raw`, all the bytes that go out.

    `delay` seconds are waited before; with `closes` the connection ends after it; `pause` seconds
    are waited after each byte.
    """

    status: int = 200
    value: object = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    pause: float = 0.0
    closes: bool = False

    def bytes(self) -> bytes:
        """All that goes out."""
        if self.raw is not None:
            return self.raw
        body = json.dumps(self.value).encode() if self.body is None else self.body
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"{name}: {value}\r\n" for name, value in {**headers, **self.headers}.items()]
        head = f"HTTP/1.1 {self.status} Said\r\n{''.join(lines)}\r\n"
        return head.encode("latin-1") + body


Answering = Callable[[Request], object]
"""Gives a `Reply`, or the value of one."""


class FakeServer:
    """The server, until `close`. `answer` may be set to another one at any time."""

    def __init__(self, answer: Answering, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self._script: deque[Reply] = deque()
        self._server = _Threads(self, context)
        scheme = "http" if context is None else "https"
        self.port: int = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def script(self, *replies: Reply) -> None:
        """What the next requests are answered, one each, before `answer` is asked again."""
        self._script.extend(replies)

    def reply(self, request: Request) -> Reply:
        """What `request` is answered; it is noted."""
        self.requests.append(request)
        with contextlib.suppress(IndexError):
            return self._script.popleft()
        found = self.answer(request)
        return found if isinstance(found, Reply) else Reply(value=found)

    def close(self) -> None:
        """Stop, and close all connections."""
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections, as a server does with idle ones."""
        for sock in list(self._server.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def fake_server(
    answer: Answering = lambda request: {}, context: ssl.SSLContext | None = None
) -> Iterator[FakeServer]:
    """A `FakeServer` for the length of a `with` block."""
    server = FakeServer(answer, context)
    try:
        yield server
    finally:
        server.close()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fake: FakeServer, context: ssl.SSLContext | None) -> None:
        self.fake = fake
        self.context = context
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection, where a handshake holds up nobody else."""
        sock: socket.socket = request
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_side=True)
        self.open.add(sock)
        self.fake.connections += 1
        try:
            super().finish_request(sock, client_address)
        finally:
            self.open.discard(sock)
            sock.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Threads

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def _take(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(self.command, self.path, headers, body, self.client_address[1])
        reply = self.server.fake.reply(request)
        if not self._wait(reply.delay, request):
            self.close_connection = True
            return
        self.close_connection |= reply.closes or reply.raw is not None
        data = reply.bytes()
        if not reply.pause:
            self.wfile.write(data)
            return
        for i in range(len(data)):
            self.wfile.write(data[i : i + 1])
            if not self._wait(reply.pause, request):
                self.close_connection = True
                return

    def _wait(self, seconds: float, request: Request) -> bool:
        """Whether the client is still there after so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.connection], [], [], min(left, 0.02))[0]:
                request.left.set()
                return False
        return True
