"""A server as it is from afar: each answer comes later by as much as the way takes.

    with delayed(url, 0.04) as far:
        Server(far).get("/health")

May touch: listens on this machine alone, and connects to the server that it is given.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

_BLOCK = 1 << 16


@contextlib.contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """A URL that stands for `url`, a whole round trip taking `seconds` more."""
    parts = urlsplit(url)
    there = parts.hostname or "127.0.0.1", parts.port or 80
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, there, seconds), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _serve(listener: socket.socket, there: tuple[str, int], seconds: float) -> None:
    while True:
        try:
            here, _ = listener.accept()
        except OSError:  # closed
            return
        far = socket.create_connection(there)
        for source, target, delay in ((here, far, 0.0), (far, here, seconds)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _carry(source, target, delay)


def _carry(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Send what comes from `source` to `target`, each block so much later, in two threads."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def read() -> None:
        while True:
            try:
                block = source.recv(_BLOCK)
            except OSError:
                block = b""
            waiting.put((time.monotonic() + delay, block))
            if not block:
                return

    def write() -> None:
        while True:
            due, block = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            with contextlib.suppress(OSError):
                if not block:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(block)

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()
