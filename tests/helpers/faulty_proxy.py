"""A proxy before a server that at times drops, delays, cuts, doubles or garbles an answer.

Which fault a request meets is drawn with a seed, so that with one client in one thread a run can be
repeated. A fault is one that a client can notice: a garbled run is no UTF-8, since nothing in HTTP
could tell a changed digit.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from typing import BinaryIO

FAULTS = (
    "drop before",  # the server never sees the request
    "drop after",  # the server has done it
    "delay",
    "truncate",
    "double",
    "garble",
    "busy",  # 429 with Retry-After
    "fail",  # 500
    "unavailable",  # 503
    "hang",  # no answer, and no end either
    "junk",  # bytes that are no HTTP
    "close later",  # the answer, and the connection closed without a word
)


class FaultyProxy:
    """The proxy, until `close`; a request meets a fault with the probability `rate`, now."""

    def __init__(
        self, port: int, seed: int, rate: float = 0.5, faults: Sequence[str] = FAULTS
    ) -> None:
        """`port` is that of the server, on this machine."""
        self.met: Counter[str] = Counter()
        self._upstream = port
        self._random = random.Random(seed)
        self.rate = rate
        self._faults = faults
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and let go of those that hang."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as reader:
            while request := _read_request(reader):
                if not self._answer(sock, *request):
                    return

    def _draw(self) -> tuple[str, random.Random]:
        with self._lock:
            has_one = self._random.random() < self.rate
            fault = self._random.choice(self._faults) if has_one else "none"
            self.met[fault] += 1
            return fault, random.Random(self._random.random())

    def _answer(self, sock: socket.socket, line: str, headers: dict[str, str], body: bytes) -> bool:
        """Answer a request; whether the connection stays."""
        fault, draws = self._draw()
        if fault == "drop before":
            return False
        if fault == "hang":
            self._stopped.wait(30)
            return False
        if fault == "busy":
            sock.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")
            return True
        if fault in ("fail", "unavailable"):
            said = f"the key was {headers.get('authorization')}".encode()
            status = b"500" if fault == "fail" else b"503"
            length = str(len(said)).encode()
            sock.sendall(b"HTTP/1.1 %s No\r\nContent-Length: %s\r\n\r\n%s" % (status, length, said))
            return True
        if fault == "junk":
            sock.sendall(draws.randbytes(draws.randrange(1, 2000)))
            return False
        answer = self._ask(line, headers, body)
        if fault == "drop after":
            return False
        if fault == "delay":
            time.sleep(draws.random() * 0.02)
        elif fault == "truncate":
            sock.sendall(answer[: draws.randrange(1, len(answer))])
            return False
        elif fault == "double":
            answer *= 2
        elif fault == "garble":
            where, size = draws.randrange(len(answer)), draws.randrange(1, 16)
            run = bytes(draws.choice((0xFF, 0xFE, 0xC0)) for _ in range(size))
            sock.sendall(answer[:where] + run + answer[where + size :])
            return False
        sock.sendall(answer)
        return fault != "close later"

    def _ask(self, line: str, headers: dict[str, str], body: bytes) -> bytes:
        """The server's answer, as the bytes that are passed on."""
        method, path, _ = line.split(" ")
        connection = HTTPConnection("127.0.0.1", self._upstream, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        head = f"HTTP/1.1 {response.status} Said\r\nContent-Length: {len(data)}\r\n\r\n"
        return head.encode("ascii") + data


def _read_request(reader: BinaryIO) -> tuple[str, dict[str, str], bytes] | None:
    """The line, the headers and the body of a request; None where there is none left."""
    line = reader.readline().decode("latin-1").strip()
    headers: dict[str, str] = {}
    while text := reader.readline().decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    if not line:
        return None
    return line, headers, reader.read(int(headers.get("content-length", 0)))


@contextlib.contextmanager
def faulty_proxy(
    port: int, seed: int, rate: float = 0.5, faults: Sequence[str] = FAULTS
) -> Iterator[FaultyProxy]:
    """A `FaultyProxy` for the length of a `with` block."""
    proxy = FaultyProxy(port, seed, rate, faults)
    try:
        yield proxy
    finally:
        proxy.close()
