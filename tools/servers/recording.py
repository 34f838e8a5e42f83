"""A server whose requests are recorded on their way to it.

    with recorded(url) as record:
        Server(record.url).get("/health")
        record.take()

May touch: listens on this machine alone, and connects to the server that it is given.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
"""Headers that are of one connection, not of an answer."""
_SECONDS = 600.0
"""That the server may take for an answer."""


class Record:
    """What was sent to `url`, which stands for the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._bodies: list[bytes] = []

    def add(self, body: bytes) -> None:
        """Note the body of a request."""
        with self._lock:
            self._bodies.append(body)

    def take(self) -> list[bytes]:
        """The bodies of all requests since this was asked before."""
        with self._lock:
            found, self._bodies = self._bodies, []
        return found


@contextlib.contextmanager
def recorded(url: str) -> Iterator[Record]:
    """What goes to the server at `url` through `Record.url`; the answers are the server's."""
    parts = urlsplit(url)
    there = parts.hostname or "127.0.0.1", parts.port or 80

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.far = HTTPConnection(*there, timeout=_SECONDS)

        def finish(self) -> None:
            self.far.close()
            super().finish()

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            record.add(body)
            try:
                self.far.request(self.command, self.path, body or None, dict(self.headers))
                answer = self.far.getresponse()
                said = answer.read()
            except (OSError, HTTPException):
                self.far.close()
                self.send_error(502)
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = relay  # noqa: N815 - as the standard library names them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        record = Record(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield record
        finally:
            server.shutdown()
