"""A connection that hears a cancel, keeps to a time and takes no more bytes than allowed.

A connection is made in a thread of its own, since asking for a name's addresses cannot be stopped;
a caller who stops waiting leaves the thread to close what it gets. Afterwards the caller's thread
reads and writes by itself, in waits of `SLICE`, between which it looks at its `Watch`.

May touch: the network.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled
from edgeproxy.remote.address import Address, is_loopback

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SLICE = 0.05
"""Seconds between two looks at a cancel."""
BUFFER = 1 << 16


class TooLargeError(Exception):
    """An answer has more bytes than allowed."""


class LateError(Exception):
    """The time for a request is up."""


class ProxyError(OSError):
    """The proxy that the environment names does not lead to the server."""


class Watch:
    """How long to wait (until `deadline`, a `time.monotonic`), for how many bytes, for whom."""

    def __init__(self, seconds: float, cancel: Cancel | None, max_bytes: int = 0) -> None:
        self.deadline = time.monotonic() + seconds
        self.cancel = cancel
        self.left = max_bytes

    def look(self) -> None:
        """Raise `Cancelled` or `LateError` where it is time for that."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("waiting for a server was cancelled")
        if time.monotonic() >= self.deadline:
            raise LateError


class Wire:
    """A connection, as `http.client` wants it in place of a socket; counts its bytes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(SLICE)
        self.sock = sock
        self.sent = 0
        self._raw = _Raw(sock)
        self._reader = _Reader(self._raw, BUFFER)

    @property
    def received(self) -> int:
        """How many bytes have come so far."""
        return self._raw.received

    @property
    def cut(self) -> bytes | None:
        """The line amid which the connection ended, if it has ended amid one."""
        return self._reader.cut

    def begin(self, watch: Watch) -> None:
        """Read and write for `watch` from now on."""
        self._raw.watch = watch

    def end(self) -> bool:
        """Whether nothing is left of an answer; then the connection may be used again."""
        self._raw.watch = None
        unread = self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0
        return not unread and not self._reader.peek(1)

    def is_idle(self) -> bool:
        """Whether the server has neither closed the connection nor sent what nobody asked for."""
        return not _readable(self.sock)

    def sendall(self, data: ReadableBuffer) -> None:
        """Send `data`, all of it. Raises `OSError`, `Cancelled` and `LateError`."""
        view, watch = memoryview(data).cast("B"), self._raw.watch
        assert watch is not None
        while view:
            watch.look()
            with contextlib.suppress(TimeoutError):
                count = self.sock.send(view[:BUFFER])
                self.sent += count
                view = view[count:]

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What answers are read from: the same one always, so that none of a byte gets lost."""
        return self._reader

    def close(self) -> None:
        """Nothing: `http.client` closes before it reads what lasts until the connection ends."""

    def hang_up(self) -> None:
        """Close the connection at once, which is how a server learns that nobody waits."""
        with contextlib.suppress(OSError):
            self.sock.close()


class _Raw(io.RawIOBase):
    """Reads a socket for a `Watch`; without one there is nothing to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = 0
        self.watch: Watch | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        watch = self.watch
        if watch is None:
            return None
        while True:
            watch.look()
            with contextlib.suppress(TimeoutError):
                count = self._sock.recv_into(buffer)
                break
        self.received += count
        watch.left -= count
        if watch.left < 0:
            raise TooLargeError
        return count


class _Reader(io.BufferedReader):
    """Outlives the answers, each of which closes what it was read from.

    `cut` is the line amid which the connection ended: `http.client` takes that for a whole one.
    """

    cut: bytes | None = None

    def close(self) -> None:
        pass

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            self.cut = line
        return line


def _readable(sock: socket.socket) -> bool:
    try:
        if hasattr(select, "poll"):  # unlike select it takes any number of files
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def connect(
    address: Address, context: ssl.SSLContext | None, seconds: float, cancel: Cancel | None
) -> Wire:
    """A new connection to `address`, with TLS by `context` where there is one.

    Raises `OSError`, `Cancelled`, and `LateError` after `seconds`.
    """
    attempt = _Attempt(lambda: _connect(address, context, seconds))
    watch = Watch(seconds + SLICE, cancel)
    try:
        while not attempt.done.wait(SLICE):
            watch.look()
    except BaseException:  # a Ctrl-C too must not leave a connection behind
        attempt.abandon()
        raise
    return Wire(attempt.result())


class _Attempt:
    """A call in a thread of its own that gets a socket, which nobody may want any more."""

    def __init__(self, work: Callable[[], socket.socket]) -> None:
        self.done = threading.Event()
        self._work = work
        self._lock = threading.Lock()
        self._is_wanted = True
        self._sock: socket.socket | None = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="edgeproxy-connect", daemon=True).start()

    def _run(self) -> None:
        try:
            sock = self._work()
        except (OSError, ValueError, HTTPException) as error:  # ValueError: an impossible name
            self._error = error
        else:
            with self._lock:
                self._sock = sock
                if not self._is_wanted:
                    sock.close()
        self.done.set()

    def abandon(self) -> None:
        """Close the socket, now or when it comes."""
        with self._lock:
            self._is_wanted = False
            if self._sock is not None:
                self._sock.close()

    def result(self) -> socket.socket:
        """The socket. Raises `OSError`."""
        if self._error is not None:
            error, self._error = self._error, None
            if isinstance(error, OSError):
                raise error
            raise ConnectionError(type(error).__name__) from None
        assert self._sock is not None
        return self._sock


def _connect(address: Address, context: ssl.SSLContext | None, seconds: float) -> socket.socket:
    """Raises `OSError`, and `HTTPException` for what a proxy says."""
    proxy = proxy_for(address)
    if proxy is None:
        sock = socket.create_connection((address.host, address.port), seconds)
    else:
        sock = _through(proxy, address, seconds)
    try:
        if address.is_loopback and not is_loopback(sock.getpeername()[0]):
            raise OSError(f"the name {address.host} leads to another machine")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            return sock
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def proxy_for(address: Address) -> SplitResult | None:
    """The proxy of the environment for `address`: for https to other machines.

    Through it goes a tunnel, so that it sees no key and no prompt. This machine needs none, and
    plain http, which a proxy could read, goes to the one server that it was allowed for.
    """
    if address.scheme != "https" or address.is_loopback:
        return None
    url = urllib.request.getproxies().get("https")
    if not url or urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _through(proxy: SplitResult, address: Address, seconds: float) -> socket.socket:
    """A socket whose other end is the server, by CONNECT. Raises `OSError`, `HTTPException`."""
    if proxy.scheme != "http" or not proxy.hostname:
        raise ProxyError("the proxy of the environment is not one of http://HOST:PORT")
    connection = HTTPConnection(proxy.hostname, proxy.port or 80, timeout=seconds)
    headers = {}
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode('ascii')}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    connection.set_tunnel(host, address.port, headers)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise ProxyError(
            f"the proxy {proxy.hostname} of the environment does not lead there: "
            f"{error.strerror or error}"
        ) from None
    sock = connection.sock
    assert isinstance(sock, socket.socket)
    return sock
