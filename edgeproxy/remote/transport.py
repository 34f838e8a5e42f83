"""Requests to a server that holds a model: `Server`.

    with Server("http://127.0.0.1:8080") as server:
        props = server.get("/props")
        answer = server.post("/completion", {"prompt": [1, 2, 3], "n_predict": 1}, cancel)

Connections are kept and used again, one request on each at a time; any number of threads may ask
at once. A cancel ends a request within a few times `wire.SLICE` by closing its connection, by which
the server learns that nobody waits. Redirects are never followed.

HTTP itself is the standard library's `http.client`, over a connection that hears a cancel.

May touch: the network.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections import deque
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import RemoteError, RemoteUnreachableError, UsageError
from edgeproxy.files import reason
from edgeproxy.remote import failures
from edgeproxy.remote.address import Address, parse_address
from edgeproxy.remote.answers import (
    FIRST_ERROR,
    Answer,
    NonsenseError,
    TruncatedError,
    parse_json,
    read_answer,
)
from edgeproxy.remote.key import Key
from edgeproxy.remote.retry import (
    FAILED_FOR_NOW,
    PATIENCE,
    REFUSED_FOR_NOW,
    pause,
    retry_after,
    wait_before,
)
from edgeproxy.remote.traffic import Traffic
from edgeproxy.remote.wire import LateError, TooLargeError, Watch, Wire, connect
from edgeproxy.units import duration, in_units

MAX_BYTES = 64 << 20
"""Of an answer: a whole row of 250,000 tokens with their texts is about 25 MB."""
MAX_HEADERS = 1 << 18
"""Bytes of an answer beyond its body: headers, sizes of chunks, what is read ahead."""
MAX_IDLE = 8
"""Connections that are kept without a request."""


class Server:
    """A server at a URL. `close` it, or use it in a `with` block.

    Times are in seconds: `connect_timeout` for a connection with its TLS, `read_timeout` for one
    request and its whole answer. A request may take both, `retries` + 1 times, and the waits
    between, of `retry.PATIENCE` together; that an answer takes too long is not tried again.
    """

    def __init__(
        self,
        url: str | Address,
        key: Key | None = None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        allow_http: bool = False,
        retries: int = 3,
        max_bytes: int = MAX_BYTES,
        ca_file: Path | None = None,
    ) -> None:
        """Nothing is sent yet. `ca_file` holds certificates (PEM) of authorities of your own.

        Raises `UsageError` for a URL that is none, or that would send a key in the clear.
        """
        is_parsed = isinstance(url, Address)
        self.address = parse_address(str(url), allow_http=allow_http or is_parsed)
        self.key = key
        self.connect_timeout, self.read_timeout = connect_timeout, read_timeout
        self.retries, self.max_bytes = retries, max_bytes
        self._context = _context(ca_file) if self.address.scheme == "https" else None
        self._start()

    def _start(self) -> None:
        """Have no connections, as at first and in the child of a fork."""
        self._pid = os.getpid()
        self._idle: deque[_Line] = deque()
        self._lock = threading.Lock()
        self._traffic = Traffic()
        self._is_closed = False

    @property
    def traffic(self) -> Traffic:
        """What went to and fro so far; in the child of a fork it begins anew."""
        return self._traffic

    def get(self, path: str, cancel: Cancel | None = None) -> Any:
        """The JSON at `path`, which begins with a slash. Raises what `post` raises."""
        return self._ask("GET", path, None, cancel, True)

    def post(
        self, path: str, payload: object, cancel: Cancel | None = None, safe: bool = True
    ) -> Any:
        """The JSON of the answer to `payload`, sent as JSON to `path`, which begins with a slash.

        `safe` says that the server may do it twice: then it is sent again where the connection
        drops. Raises `Cancelled`, a `RemoteError`, `UsageError` for a payload that is no JSON.
        """
        try:
            body = json.dumps(payload, allow_nan=False, separators=(",", ":")).encode("ascii")
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"this cannot be sent to a server: {error}") from None
        return self._ask("POST", path, body, cancel, safe)

    def close(self) -> None:
        """Close all connections; a request under way ends by itself, and a later one is an error.

        The connections of a parent are left to it.
        """
        self._look_for_a_fork()
        self._is_closed = True
        self._drop_idle()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({str(self.address)!r})"

    def _ask(
        self, method: str, path: str, body: bytes | None, cancel: Cancel | None, safe: bool
    ) -> Any:
        self._look_for_a_fork()
        if self._is_closed:
            raise UsageError(f"{self.address}: a request after this server was closed")
        began = time.monotonic()
        try:
            answer = self._answer(method, path, body, cancel, safe)
            try:
                value = parse_json(answer.body)
            except NonsenseError as error:
                said = failures.quoted(answer.body[:400], self.key)
                raise self._nonsense(path, error, said) from None
        finally:
            self._count(Traffic(seconds=time.monotonic() - began))
        self._count(Traffic(requests=1))
        return value

    def _answer(
        self, method: str, path: str, body: bytes | None, cancel: Cancel | None, safe: bool
    ) -> Answer:
        """The answer that is a success, after as many tries as are allowed."""
        failed, paused, fresh = 0, 0.0, not safe
        while True:
            tried = self._try(method, path, body, cancel, fresh)
            if isinstance(tried, Answer):
                return tried
            may_retry = tried.is_harmless or (safe and tried.may_pass)
            if tried.was_idle and safe:
                # The server had closed it, as it may at any time; no more of that age is tried.
                self._drop_idle()
                fresh = True
            else:
                failed += 1
                if not may_retry or failed > self.retries:
                    raise tried.error
                seconds = wait_before(failed, tried.asked)
                paused += seconds
                if paused > PATIENCE:
                    if tried.asked is None:
                        raise tried.error
                    raise failures.too_patient(self.address, tried.error, tried.asked)
                pause(seconds, cancel)
            self._count(Traffic(retries=1))

    def _try(
        self, method: str, path: str, body: bytes | None, cancel: Cancel | None, fresh: bool
    ) -> Answer | _Failed:
        """One request on one connection. Raises what is not to be tried again."""
        target = self._target(path)
        line = None if fresh else self._idle_line()
        was_idle = line is not None
        if line is None:
            try:
                wire = connect(self.address, self._context, self.connect_timeout, cancel)
            except LateError:
                error = failures.unreachable(self.address, TimeoutError())
                return _Failed(error, is_harmless=True)
            except OSError as error:
                told = failures.unreachable(self.address, error)
                if not failures.may_pass(error):
                    raise told from None
                return _Failed(told, is_harmless=True)
            line = _Line(self.address, wire)
        before = line.wire.sent, line.wire.received
        keep = False
        line.wire.begin(Watch(self.read_timeout, cancel, self.max_bytes + MAX_HEADERS))
        try:
            answer, keep = line.exchange(method, target, body, self._headers(), self.max_bytes)
        except (TruncatedError, RemoteDisconnected, OSError) as error:
            nothing_came = line.wire.received == before[1]
            return _Failed(self._dropped(error, nothing_came), True, was_idle and nothing_came)
        except LateError:
            raise RemoteUnreachableError(
                self.address,
                f"no whole answer to {path} within {duration(self.read_timeout)}; it may be too "
                "busy, or too slow for this model",
            ) from None
        except TooLargeError:
            what = f"its answer to {path} has more than {in_units(self.max_bytes)}; ask for less"
            raise RemoteError(self.address, what) from None
        except NonsenseError as error:
            raise self._nonsense(path, error, "") from None
        except (HTTPException, ValueError) as error:
            garbage = NonsenseError(f"it is no HTTP ({type(error).__name__})")
            raise self._nonsense(path, garbage, "") from None
        finally:
            sent, received = line.wire.sent - before[0], line.wire.received - before[1]
            self._count(Traffic(bytes_sent=sent, bytes_received=received))
            self._put_back(line, keep)
        if answer.status < FIRST_ERROR:
            return answer
        refused = failures.refusal(self.address, path, answer, self.key)
        if answer.status not in FAILED_FOR_NOW:
            raise refused
        asked = retry_after(answer.headers.get("retry-after"))
        harmless = answer.status in REFUSED_FOR_NOW
        return _Failed(refused, True, asked=asked, is_harmless=harmless)

    def _target(self, path: str) -> str:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise UsageError(f"{path!r} is no path at a server; it begins with a slash")
        return self.address.path + path

    def _headers(self) -> dict[str, str]:
        headers = {
            "Host": self.address.origin.partition("://")[2],
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "edgeproxy",
        }
        if self.key is not None:
            headers["Authorization"] = self.key.header
        return headers

    def _dropped(self, error: Exception, nothing_came: bool) -> RemoteUnreachableError:
        when = "before it answered" if nothing_came else "amid its answer"
        why = f" ({failures.clean(reason(error))})" if isinstance(error, OSError) else ""
        what = f"it dropped the connection {when}{why}; it may have ended: look at its log"
        return RemoteUnreachableError(self.address, what)

    def _nonsense(self, path: str, error: NonsenseError, said: str) -> RemoteError:
        what = f"its answer to {path} cannot be read: {error}; check that the URL is of a server"
        return RemoteError(self.address, f"{what} of models{said}")

    def _idle_line(self) -> _Line | None:
        """A connection that can be used again, the latest; None where there is none."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return None
            if line.wire.is_idle():
                return line
            line.wire.hang_up()

    def _put_back(self, line: _Line, keep: bool) -> None:
        if not keep or self._is_closed or len(self._idle) >= MAX_IDLE:
            line.wire.hang_up()
            return
        self._idle.append(line)
        if self._is_closed:  # meanwhile
            self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().wire.hang_up()
            except IndexError:  # another thread took it
                return

    def _look_for_a_fork(self) -> None:
        """In the child of a fork, leave the parent's connections to it; closing says nothing."""
        if self._pid == os.getpid():
            return
        theirs, was_closed = list(self._idle), self._is_closed
        self._start()
        self._is_closed = was_closed
        for line in theirs:
            line.wire.hang_up()

    def _count(self, more: Traffic) -> None:
        with self._lock:
            self._traffic = self._traffic.plus(more)


class _Failed:
    """A try that came to nothing, and that may be tried again."""

    def __init__(
        self,
        error: RemoteError,
        may_pass: bool = True,
        was_idle: bool = False,
        asked: float | None = None,
        is_harmless: bool = False,
    ) -> None:
        self.error = error
        self.may_pass = may_pass
        self.was_idle = was_idle
        self.asked = asked
        self.is_harmless = is_harmless


class _Line:
    """A connection, and `http.client`'s notion of it."""

    def __init__(self, address: Address, wire: Wire) -> None:
        self.wire = wire
        self._http = HTTPConnection(address.host, address.port)
        self._http.auto_open = 0
        self._http.sock = wire

    def exchange(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], max_bytes: int
    ) -> tuple[Answer, bool]:
        """The answer to a request, and whether the connection may be used again."""
        self._http.request(method, target, body, headers)
        try:
            response = self._http.getresponse()
        except HTTPException:
            if self.wire.cut is not None and self.wire.cut[:5] == b"HTTP/"[: len(self.wire.cut)]:
                raise TruncatedError from None
            raise
        if self.wire.cut is not None:
            raise TruncatedError
        will_close = response.will_close
        answer = read_answer(response, max_bytes)
        is_whole = response.isclosed()
        return answer, is_whole and self.wire.end() and not will_close


def _context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies names and certificates, by the system's authorities and those in `ca_file`."""
    context = ssl.create_default_context()
    _trust_more(context)
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{ca_file}: no certificates can be read from it ({reason(error)}); it must be "
                "a file in the format PEM"
            ) from None
    return context


def _trust_more(context: ssl.SSLContext) -> None:
    """Take certifi's authorities where the system gives Python none, as some do on macOS."""
    if ssl.get_default_verify_paths().cafile or context.cert_store_stats()["x509_ca"]:
        return
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(certifi.where())
