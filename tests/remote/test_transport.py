"""Requests to a server that behaves, and to one that answers with anything else."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import (
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
    UsageError,
)
from edgeproxy.remote import retry
from edgeproxy.remote.key import Key
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import FakeServer, Reply, Request, fake_server

KEY = Key("sk-0123456789")
ENDLESS = b"HTTP/1.1 200 OK\r\n"


def echo(request: Request) -> object:
    return {"path": request.path, "sent": request.json if request.body else None}


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server(echo) as server:
        yield server


@pytest.fixture
def server(fake: FakeServer) -> Iterator[Server]:
    with Server(fake.url, KEY, read_timeout=20) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.002)


def test_a_request_and_its_answer(server: Server, fake: FakeServer) -> None:
    assert server.get("/props") == {"path": "/props", "sent": None}
    assert server.post("/completion", {"prompt": [1, "é"]}) == {
        "path": "/completion",
        "sent": {"prompt": [1, "é"]},
    }
    get, post = fake.requests
    assert (get.method, post.method) == ("GET", "POST")
    assert post.headers["authorization"] == "Bearer sk-0123456789"
    assert post.headers["host"] == fake.url.removeprefix("http://")
    assert post.headers["content-type"] == "application/json"


def test_without_a_key_none_is_sent(fake: FakeServer) -> None:
    with Server(fake.url) as server:
        server.get("/")
    assert "authorization" not in fake.requests[0].headers


def test_the_path_of_the_url_comes_first(fake: FakeServer) -> None:
    with Server(f"{fake.url}/v1/") as server:
        assert server.get("/models")["path"] == "/v1/models"


def test_a_connection_is_used_again(server: Server, fake: FakeServer) -> None:
    for _ in range(5):
        server.get("/")
    assert fake.connections == 1
    assert server.traffic.retries == 0


def test_one_that_the_server_closed_meanwhile_is_not(server: Server, fake: FakeServer) -> None:
    for safe in (True, False):
        server.get("/")
        fake.hang_up()
        server.post("/", {}, safe=safe)
    assert len(fake.requests) == 4
    fake.script(Reply(closes=True))
    server.get("/")
    server.get("/")
    assert len(fake.requests) == 6


def test_what_was_sent_without_being_asked_for_is_no_answer(
    server: Server, fake: FakeServer
) -> None:
    """The answer to a request is never taken from what another one left in a connection."""
    twice = Reply(value="old").bytes() * 2
    fake.script(Reply(raw=twice))
    assert server.get("/a") == "old"
    assert server.get("/b")["path"] == "/b"


def test_many_threads_ask_at_once(server: Server, fake: FakeServer) -> None:
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for i in range(25):
            sent = [thread, i]
            if server.post("/x", sent)["sent"] != sent:
                wrong.append(sent)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert server.traffic.requests == len(fake.requests) == 300


def test_traffic_counts(server: Server) -> None:
    server.post("/x", "a" * 1000)
    before = server.traffic
    server.post("/x", "a" * 1000)
    more = server.traffic.since(before)
    assert (more.requests, more.retries) == (1, 0)
    assert 1000 < more.bytes_sent < 2000
    assert 1000 < more.bytes_received < 2000
    assert more.seconds > 0
    assert before.requests == 1


def test_a_large_payload_arrives_whole(server: Server) -> None:
    sent = "x" * 5_000_000
    assert server.post("/x", sent)["sent"] == sent


@pytest.mark.parametrize("payload", [float("nan"), float("-inf"), {1, 2}, b"x"])
def test_a_payload_that_is_no_json_is_refused(payload: object, server: Server) -> None:
    with pytest.raises(UsageError, match="cannot be sent"):
        server.post("/", payload)


@pytest.mark.parametrize("path", ["", "props", "/a b", "/a\r\nX: y", "/é", "//\0"])
def test_a_path_that_is_none_is_refused(path: str, server: Server, fake: FakeServer) -> None:
    with pytest.raises(UsageError, match="path"):
        server.get(path)
    assert fake.requests == []


def test_after_close_nothing_is_asked(server: Server, fake: FakeServer) -> None:
    server.get("/")
    server.close()
    with pytest.raises(UsageError, match="closed"):
        server.get("/")
    assert len(fake.requests) == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}',
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        CHUNKED + b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n',
        b'HTTP/1.1 201 Made\r\nContent-Length: 8\r\nContent-Encoding: identity\r\n\r\n{"a": 1}',
        b'HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n{"a": 1}',
    ],
)
def test_every_way_to_send_an_answer(raw: bytes, server: Server, fake: FakeServer) -> None:
    fake.script(Reply(raw=raw))
    assert server.get("/") == {"a": 1}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(body=b""), "empty"),
        (Reply(body=b"  \n"), "empty"),
        (Reply(body=b"\xff\xfe\x00"), "not UTF-8"),
        (Reply(body=b"{"), "no JSON"),
        (Reply(body=b'{"a": 1} {"a": 1}'), "no JSON"),
        (Reply(body=b'{"a": NaN}'), "NaN"),
        (Reply(body=b'{"a": [-Infinity]}'), "Infinity"),
        (Reply(body=b'{"a": 1e999}'), "too large"),
        (Reply(body=b'{"a": -1E+9999}'), "too large"),
        (Reply(body=b'{"a": ' + b"9" * 10_000 + b"}"), "holds"),
        (Reply(body=b'{"a": ' + b"9" * 400 + b".0}"), "too large"),
        (Reply(body=b'{"a":        ' + b"9" * 310 + b".0}"), "too large"),
        (Reply(body=b'{"a": ' + b"9" * 250 + b"e99}"), "too large"),
        (Reply(body=b"[" * 200_000), "nests too deep|no JSON"),
        (Reply(body=b'{"a":' * 200_000), "nests too deep|no JSON"),
        (Reply(body=b"<html>Welcome</html>"), "web page"),
        (Reply(body=b"hello sk-0123456789"), r'"hello \(key\)"'),
        (Reply(body=b"{}", headers={"Content-Encoding": "gzip"}), "compressed"),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), "no HTTP"),
        (Reply(raw=b"\0" * 100), "no HTTP"),
        (Reply(raw=b"HTTP/1.1 OK\r\n\r\n"), "no HTTP"),
        (Reply(raw=b"HTTP/1.1 99999 OK\r\n\r\n"), "no HTTP"),
        (Reply(raw=b"HTTP/3 200 OK\r\n\r\n"), "no HTTP"),
        (Reply(raw=ENDLESS + b"A: b\r\n" * 1000 + b"\r\n"), "no HTTP"),
        (Reply(raw=ENDLESS + b"A" * 100_000), "no HTTP"),
        (Reply(raw=b"HTTP/1.1 101 Switching\r\n\r\n"), "empty"),
        (Reply(raw=b"HTTP/1.1 204 Nothing\r\n\r\n"), "empty"),
    ],
)
def test_an_answer_that_cannot_be_read_is_one_clear_error(
    reply: Reply, said: str, server: Server, fake: FakeServer
) -> None:
    fake.script(reply)
    with pytest.raises(RemoteError, match=said) as caught:
        server.get("/props")
    text = str(caught.value)
    assert text.startswith(fake.url)
    assert text.isprintable()
    assert "sk-" not in text
    assert len(fake.requests) == 1, "such an answer is not asked for again"
    assert server.get("/next")["path"] == "/next"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        CHUNKED + b'8\r\n{"a": 1}\r\n',
        CHUNKED + b'9\r\n{"a": 1}',
        CHUNKED + b"hello\r\n",
        CHUNKED + b"-1\r\n{}",
        CHUNKED + b"-5\r\n{}",
        b"HT",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0",
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=range(12),
)
def test_an_answer_that_ends_too_early(raw: bytes, server: Server, fake: FakeServer) -> None:
    fake.script(Reply(raw=raw))
    assert server.get("/again")["path"] == "/again"
    fake.script(Reply(raw=raw))
    with pytest.raises(RemoteError, match=r"dropped the|no HTTP|no JSON"):
        server.post("/once", {}, safe=False)
    assert [request.path for request in fake.requests].count("/once") == 1
    fake.script(*[Reply(raw=raw)] * 5)
    with pytest.raises(RemoteError, match=r"dropped the|no HTTP|no JSON"):
        server.get("/always")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b'"' + b"x" * 3000 + b'"'),
        Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3000),
        Reply(raw=CHUNKED + b"bb8\r\n" + b"x" * 3000 + b"\r\n0\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}"),
    ],
    ids=["length", "close", "chunked", "claimed"],
)
def test_an_answer_beyond_the_limit_is_refused(reply: Reply, fake: FakeServer) -> None:
    fake.script(reply)
    with Server(fake.url, max_bytes=2000) as server, pytest.raises(RemoteError, match=r"2\.0 kB"):
        server.get("/")


def test_the_bytes_around_an_answer_are_limited_too(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of size -1 would be read to the end of the connection."""
    monkeypatch.setattr("edgeproxy.remote.transport.MAX_HEADERS", 10_000)
    fake.script(*[Reply(raw=CHUNKED + b"-1\r\n" + b"x" * 1_000_000)] * 2)
    with Server(fake.url, max_bytes=2000, retries=0) as server:
        with pytest.raises(RemoteError, match=r"more than|dropped"):
            server.get("/")
        assert server.traffic.bytes_received < 200_000


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://evil.example/x?key=1", "https://evil.example/x"),
        ("/elsewhere", "/elsewhere"),
        ("https://me:hunter2@evil.example/", "elsewhere"),
        ("javascript:alert(1)", "elsewhere"),
        ("https://evil.example/sk-0123456789", "/(key)"),
        ("", "to http"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    status: int, location: str, shown: str, server: Server, fake: FakeServer
) -> None:
    fake.script(Reply(status, headers={"Location": location}))
    with pytest.raises(RemoteRefusedError) as caught:
        server.post("/x", {})
    assert shown in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "sk-0" not in str(caught.value)
    assert len(fake.requests) == 1


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}", "nothing listens"),
        ("https://127.0.0.1:{port}", "nothing listens"),
        ("https://nothing.invalid", "not found|no connection"),
    ],
)
def test_a_server_that_is_not_there(url: str, said: str) -> None:
    url = url.format(port=closed_port())
    with Server(url, retries=1) as server, pytest.raises(RemoteUnreachableError, match=said):
        server.get("/")


def test_the_environments_proxy_is_not_asked_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert server.get("/a")["path"] == "/a"


def test_the_environments_proxy_gets_a_tunnel_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        heard: list[bytes] = []

        def refuse() -> None:
            sock, _ = listener.accept()
            with sock:
                heard.append(sock.recv(10_000))
                sock.sendall(b"HTTP/1.1 403 No\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv("https_proxy", f"http://me:hunter2@127.0.0.1:{port}")
        with (
            Server("https://models.example", KEY) as server,
            pytest.raises(RemoteUnreachableError, match=r"proxy 127\.0\.0\.1 .* 403") as caught,
        ):
            server.get("/")
        thread.join()
    assert heard[0].startswith(b"CONNECT models.example:443 HTTP/1.")
    assert b"sk-0" not in heard[0]
    assert b"Basic bWU6aHVudGVyMg==" in heard[0]
    assert "hunter2" not in str(caught.value)


def test_a_loopback_name_that_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(socket.socket):
        def getpeername(self) -> Any:
            return ("192.0.2.1", 80)

    monkeypatch.setattr(socket, "create_connection", lambda *_: Elsewhere())
    with (
        Server("http://localhost:80", KEY, retries=0) as server,
        pytest.raises(RemoteUnreachableError, match="another machine"),
    ):
        server.get("/")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_the_child_of_a_fork_has_connections_of_its_own(server: Server, fake: FakeServer) -> None:
    server.get("/parent")
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        code = b"F"
        try:
            right = server.get("/child")["path"] == "/child"
            code = b"0" if right and server.traffic.requests == 1 else b"1"
            server.close()
        finally:
            os.write(write, code)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read, "rb") as pipe:  # noqa: PTH123
        assert pipe.read() == b"0"
    server.get("/again")
    parent, child, again = (request.port for request in fake.requests)
    assert parent == again != child


def test_a_file_of_certificates_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("hello")
    for name in ("no.pem", "missing.pem"):
        with pytest.raises(UsageError, match=name):
            Server("https://models.example", ca_file=tmp_path / name)


def test_nothing_shows_the_key(server: Server) -> None:
    assert "sk-0" not in repr(server)
    assert "sk-0" not in repr(vars(server))
