"""Connections: clients that leave, dawdle, take nothing, or are too many."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest

from edgeproxy.serve.http.limits import Limits
from tests.helpers.http_fakes import ASK, JSON, KEY, WITH_KEY, serving

QUICK = Limits(
    head_seconds=0.3,
    body_seconds=0.3,
    stuck_seconds=0.3,
    start_seconds=0.05,
    beat_seconds=0.05,
    idle_seconds=1,
    connections=8,
)
PATIENCE = 120.0

pytestmark = pytest.mark.slow


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def request(text: str, *, streams: bool = False, length: int | None = None) -> bytes:
    body = json.dumps({"text": text, "stream": streams}).encode()
    lines = [f"POST {ASK} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}",
             "Content-Type: application/json",
             f"Content-Length: {len(body) if length is None else length}", "", ""]  # fmt: skip
    return "\r\n".join(lines).encode() + body


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as made:
        yield made


def rest_of(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while block := connection.recv(65536):
            found += block
    return found


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("text", ["wait", "reads"])
def test_a_client_that_leaves_is_heard_at_once(text: str, streams: bool) -> None:
    with serving() as server:
        with connected(server.port) as connection:
            connection.sendall(request(text, streams=streams))
            until(lambda: len(server.engine.asked) == 1)
        until(lambda: server.engine.left == [text])


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_resets_is_heard_too(streams: bool) -> None:
    with serving() as server:
        with connected(server.port) as connection:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(request("wait", streams=streams))
            until(lambda: len(server.engine.asked) == 1)
        until(lambda: server.engine.left == ["wait"])


@pytest.mark.parametrize("ahead", [b"GET / HT", request("hello"), request("hello") * 20])
@pytest.mark.parametrize("streams", [False, True])
def test_one_that_has_sent_its_next_request_is_heard_too(streams: bool, ahead: bytes) -> None:
    with serving() as server:
        with connected(server.port) as connection:
            connection.sendall(request("wait", streams=streams))
            until(lambda: len(server.engine.asked) == 1)
            connection.sendall(ahead)
        until(lambda: server.engine.left == ["wait"])
        assert len(server.engine.asked) == 1


def test_requests_that_come_before_their_turn_are_answered_in_it() -> None:
    count = 40
    with serving() as server, connected(server.port) as connection:
        connection.sendall(request("first"))
        for n in range(count):
            connection.sendall(request(f"number {n}"))
        found = b""
        while f"number {count - 1}".encode() not in found:
            more = connection.recv(65536)
            assert more, "the server has closed the connection"
            found += more
        assert [found.count(f'"number {n}"'.encode()) for n in range(count)] == [1] * count


def test_what_is_sent_ahead_is_not_read_without_end() -> None:
    with serving() as server, connected(server.port) as connection:
        connection.sendall(request("wait"))
        until(lambda: len(server.engine.asked) == 1)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):  # noqa: PT012 - after however much
            for _ in range(100_000):
                connection.sendall(b"x" * 65536)


def test_a_stream_that_has_nothing_yet_begins_all_the_same() -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        connection.sendall(request("wait", streams=True))
        found = b""
        while found.count(b": \n\n") < 3:
            found += connection.recv(4096)
        assert found.startswith(b"HTTP/1.1 200 OK")


def test_who_takes_nothing_is_cut_off_and_nothing_piles_up() -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request("endless", streams=True))
        until(lambda: server.engine.left == ["endless"])
        assert server.engine.said * 4096 < 64 << 20  # the system's buffers, and little else


def test_a_slow_reader_keeps_nobody_waiting() -> None:
    with serving(limits=replace(QUICK, stuck_seconds=60.0)) as server:
        with connected(server.port) as connection:
            connection.sendall(request("endless", streams=True))
            until(lambda: server.engine.said > 10)
            found = httpx.post(
                f"{server.url}{ASK}", json={"text": "hello"}, headers=WITH_KEY, timeout=PATIENCE
            )
            assert found.json() == {"text": "hello"}
        until(lambda: server.engine.left == ["endless"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"408"),
        (b"P", b"408"),
        (b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nX: ", b"408"),
        (request("hello", length=1000), b"408"),
    ],
    ids=["nothing", "a letter", "half a head", "half a body"],
)
def test_what_does_not_come_is_not_waited_for(sent: bytes, status: bytes) -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        connection.sendall(sent)
        assert rest_of(connection).startswith(b"HTTP/1.1 " + status)
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_letter_at_a_time_does_not_help() -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        started = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever letter it is
            for letter in b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000:
                connection.sendall(bytes([letter]))
                time.sleep(0.02)
                assert time.monotonic() - started < PATIENCE


def test_the_second_head_of_a_connection_has_a_limit_too() -> None:
    limits = replace(QUICK, idle_seconds=60)
    with serving(limits=limits) as server, connected(server.port) as connection:
        connection.sendall(request("hello") + b"GET / HT")
        found = rest_of(connection)
        assert found.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 408" in found


def test_an_idle_connection_is_closed() -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        connection.sendall(request("hello"))
        assert rest_of(connection).count(b"HTTP/1.1") == 1


def test_a_refused_body_that_never_ends_ends_the_connection() -> None:
    with serving(limits=QUICK) as server, connected(server.port) as connection:
        wrong = request("hello", length=20_000).replace(KEY.encode(), b"wrong")
        connection.sendall(wrong)
        found = rest_of(connection)
        assert found.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in found.lower()


def test_who_asks_whether_to_send_is_told_before() -> None:
    with serving() as server, connected(server.port) as connection:
        asks = request("hello").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
        head, _, body = asks.partition(b"\r\n\r\n")
        connection.sendall(head.replace(KEY.encode(), b"wrong") + b"\r\n\r\n")
        assert rest_of(connection).startswith(b"HTTP/1.1 401")
    with serving() as server, connected(server.port) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_large_body_that_is_refused_still_hears_why() -> None:
    with serving(limits=Limits(body=1000)) as server:
        found = httpx.post(
            f"{server.url}{ASK}", content=b" " * (8 << 20), headers=WITH_KEY | JSON, timeout=60.0
        )
        assert found.status_code == 413


def test_too_many_connections_are_turned_away() -> None:
    with (
        serving(limits=replace(QUICK, head_seconds=60.0)) as server,
        contextlib.ExitStack() as all_,
    ):
        for _ in range(QUICK.connections):
            all_.enter_context(connected(server.port))
        until(lambda: len(server.running.server_state.connections) == QUICK.connections)
        late = all_.enter_context(connected(server.port))
        assert rest_of(late).startswith(b"HTTP/1.1 503")


def test_half_open_connections_are_gone_after_a_while() -> None:
    with serving(limits=QUICK) as server, contextlib.ExitStack() as all_:
        for each in [all_.enter_context(connected(server.port)) for _ in range(QUICK.connections)]:
            assert rest_of(each).startswith(b"HTTP/1.1 408")
        until(lambda: len(server.running.server_state.connections) == 0)
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("text", ["wait", "endless"])
def test_the_end_waits_for_no_client(text: str) -> None:
    with serving() as server, connected(server.port) as connection, connected(server.port):
        connection.sendall(request(text, streams=True))
        until(lambda: len(server.engine.asked) == 1)
        started = time.monotonic()
        server.running.stop()
        until(lambda: server.engine.left == [text])
        assert server.engine.closed == [0.0]
        assert time.monotonic() - started < PATIENCE
