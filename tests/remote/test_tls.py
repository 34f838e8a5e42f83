"""Over TLS: who is trusted, and that what holds without it holds with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, RemoteUnreachableError
from edgeproxy.remote.key import Key
from edgeproxy.remote.transport import Server
from tests.helpers.certificates import LOCALHOST, OTHER, server_context
from tests.helpers.fake_server import Reply, Request, fake_server

KEY = Key("sk-0123456789")


def echo(request: Request) -> object:
    return request.json if request.body else request.path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_an_authority_of_ones_own(host: str, tmp_path: Path) -> None:
    with fake_server(echo, server_context(LOCALHOST, tmp_path)) as fake:
        url = fake.url.replace("127.0.0.1", host)
        with Server(url, KEY, ca_file=tmp_path / "server.pem") as server:
            for size in (1, 100, 1_000_000):
                assert server.post("/x", "x" * size) == "x" * size
        assert fake.connections == 1
        assert fake.requests[0].headers["authorization"] == "Bearer sk-0123456789"


def test_nobody_else_is_trusted_or_sent_a_key(tmp_path: Path) -> None:
    with fake_server(echo, server_context(LOCALHOST, tmp_path)) as fake:
        with (
            Server(fake.url, KEY) as server,
            pytest.raises(RemoteUnreachableError, match="certificate is not trusted"),
        ):
            server.get("/")
        assert fake.requests == []


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with fake_server(echo, server_context(OTHER, tmp_path)) as fake:
        with (
            Server(fake.url, KEY, ca_file=tmp_path / "server.pem") as server,
            pytest.raises(RemoteUnreachableError, match="certificate is not trusted"),
        ):
            server.get("/")
        assert fake.requests == []


def test_tls_with_a_server_that_speaks_none() -> None:
    with fake_server(echo) as fake:
        url = fake.url.replace("http:", "https:")
        with Server(url) as server, pytest.raises(RemoteUnreachableError, match="no TLS"):
            server.get("/")


def test_plain_http_with_a_server_that_speaks_tls(tmp_path: Path) -> None:
    with fake_server(echo, server_context(LOCALHOST, tmp_path)) as fake:
        url = fake.url.replace("https:", "http:")
        with Server(url, retries=0) as server, pytest.raises(RemoteUnreachableError):
            server.get("/")


def test_a_cancel_is_heard(tmp_path: Path) -> None:
    context = server_context(LOCALHOST, tmp_path)
    with (
        fake_server(echo, context) as fake,
        Server(fake.url, ca_file=tmp_path / "server.pem") as server,
    ):
        server.get("/")
        fake.script(Reply(delay=60))
        flag = Flag()
        threading.Timer(0.2, flag.set).start()
        with pytest.raises(Cancelled):
            server.get("/slow", flag)
        assert fake.requests[1].left.wait(10)
        assert server.get("/next") == "/next"


def test_what_was_sent_without_being_asked_for_is_no_answer(tmp_path: Path) -> None:
    context = server_context(LOCALHOST, tmp_path)
    with (
        fake_server(echo, context) as fake,
        Server(fake.url, ca_file=tmp_path / "server.pem") as server,
    ):
        fake.script(Reply(raw=Reply(value="old").bytes() * 2))
        assert server.get("/a") == "old"
        assert server.get("/b") == "/b"
