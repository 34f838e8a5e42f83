"""A cancel is heard wherever a request is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import FakeServer, Reply, fake_server

LONG = 60.0
"""Seconds that each of these would take; a cancel that is heard takes some hundredths."""


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server(lambda request: "done") as server:
        yield server


def cancelled_after(url: str, seconds: float, until: Callable[[], bool] = lambda: True) -> Server:
    """Ask, and set the cancel once `until` says so, and `seconds` later."""
    flag = Flag()

    def set_it() -> None:
        while not until():
            time.sleep(0.005)
        time.sleep(seconds)
        flag.set()

    thread = threading.Thread(target=set_it)
    server = Server(url, read_timeout=LONG, connect_timeout=LONG)
    began = time.monotonic()
    thread.start()
    with pytest.raises(Cancelled):
        server.post("/completion", "x" * 10_000_000, flag)
    assert time.monotonic() - began < LONG / 2
    thread.join()
    return server


def test_while_the_answer_is_waited_for(fake: FakeServer) -> None:
    fake.script(Reply(delay=LONG))
    server = cancelled_after(fake.url, 0.1, lambda: len(fake.requests) == 1)
    assert fake.requests[0].left.wait(10), "the server learns that nobody waits"
    assert server.get("/next") == "done"
    server.close()


def test_while_the_answer_comes(fake: FakeServer) -> None:
    fake.script(Reply(value="x" * 100_000, pause=0.01))
    cancelled_after(fake.url, 0.2, lambda: len(fake.requests) == 1).close()
    assert fake.requests[0].left.wait(10)


def test_between_two_tries(fake: FakeServer) -> None:
    fake.script(Reply(429, headers={"Retry-After": "50"}))
    cancelled_after(fake.url, 0.1, lambda: len(fake.requests) == 1).close()
    assert len(fake.requests) == 1


def test_while_the_request_is_sent() -> None:
    """To a server that accepts and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cancelled_after(f"http://127.0.0.1:{listener.getsockname()[1]}", 0.2).close()


def test_while_tls_is_agreed_on() -> None:
    """With a server that accepts and says nothing; its connection is closed in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cancelled_after(f"https://127.0.0.1:{listener.getsockname()[1]}", 0.2).close()


def test_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        asked.set()
        go_on.wait(LONG)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    cancelled_after("https://models.example", 0.1, asked.is_set).close()
    go_on.set()


def test_a_connection_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()
    mine, theirs = socket.socketpair()

    def connect(*_: object) -> socket.socket:
        asked.set()
        go_on.wait(LONG)
        return mine

    monkeypatch.setattr("edgeproxy.remote.wire._connect", connect)
    cancelled_after("http://127.0.0.1:1", 0.1, asked.is_set).close()
    go_on.set()
    theirs.settimeout(10)
    assert theirs.recv(1) == b"", "the late connection is closed"
    theirs.close()


def test_one_that_was_set_before_sends_nothing(fake: FakeServer) -> None:
    flag = Flag()
    flag.set()
    with Server(fake.url) as server, pytest.raises(Cancelled):
        server.get("/", flag)
    assert fake.requests == []


def test_it_stops_one_request_of_several(fake: FakeServer) -> None:
    fake.answer = lambda request: Reply(value=request.path, delay=0.3)
    flag = Flag()
    found: list[object] = []
    with Server(fake.url) as server:
        other = threading.Thread(target=lambda: found.append(server.get("/stays")))
        other.start()
        threading.Timer(0.05, flag.set).start()
        with pytest.raises(Cancelled):
            server.get("/goes", flag)
        other.join()
    assert found == ["/stays"]
