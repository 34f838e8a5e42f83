"""What refusals and failures become, and which of them are tried again."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import (
    ContextFullError,
    EngineError,
    RemoteBusyError,
    RemoteError,
    RemoteFullError,
    RemoteRefusedError,
    RemoteUnreachableError,
)
from edgeproxy.remote import retry
from edgeproxy.remote.failures import MAX_QUOTED, quoted
from edgeproxy.remote.key import Key
from edgeproxy.remote.retry import FIRST_WAIT, LONGEST_WAIT, retry_after, wait_before
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import FakeServer, Reply, fake_server

SECRET = "sk-0123456789"
KEY = Key(SECRET)
NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server(lambda request: "done") as server:
        yield server


@pytest.fixture
def server(fake: FakeServer) -> Iterator[Server]:
    with Server(fake.url, KEY, read_timeout=20) as opened:
        yield opened


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was to be waited between tries; nothing is."""
    found: list[float] = []
    monkeypatch.setattr(
        "edgeproxy.remote.transport.pause", lambda seconds, cancel: found.append(seconds)
    )
    return found


def says(status: int, value: object) -> Reply:
    return Reply(status, value=value)


LLAMA_FULL = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 900,
        "n_ctx": 512,
    }
}
VLLM_FULL = {
    "error": {
        "message": "This model's maximum context length is 1024 tokens. However, you requested ...",
        "type": "BadRequestError",
        "code": 400,
    }
}


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (says(400, {"error": {"message": "no such field"}}), RemoteRefusedError, "no such field"),
        (says(400, {"error": "no such field"}), RemoteRefusedError, "no such field"),
        (says(400, LLAMA_FULL), RemoteFullError, "use a shorter one"),
        (says(400, VLLM_FULL), RemoteFullError, "maximum context length is 1024"),
        (Reply(413), RemoteFullError, "too long"),
        (Reply(401), RemoteRefusedError, "check the key"),
        (says(403, {"detail": "Forbidden"}), RemoteRefusedError, "Forbidden"),
        (says(404, {"error": {"message": "File Not Found"}}), RemoteRefusedError, "/completion"),
        (
            says(422, {"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]}),
            RemoteRefusedError,
            "body.prompt: field required",
        ),
        (says(500, {"error": {"message": "out of memory"}}), RemoteError, "out of memory"),
        (Reply(418, body=b"<!DOCTYPE html><p>"), RemoteRefusedError, "web page"),
        (Reply(599, body=b"\xff\xfe\x00"), RemoteError, "failed by itself"),
        (Reply(400, body=b"[" * 100_000), RemoteRefusedError, "refuses"),
        (Reply(400, body=b"x" * 1_000_000), RemoteRefusedError, "xxx ..."),
        (Reply(400, body=b"x", headers={"Content-Encoding": "gzip"}), RemoteRefusedError, "400"),
    ],
)
def test_a_refusal_is_said_once_and_with_what_the_server_says(
    reply: Reply,
    kind: type[RemoteError],
    said: str,
    server: Server,
    fake: FakeServer,
    waits: list[float],
) -> None:
    fake.script(reply)
    with pytest.raises(RemoteError) as caught:
        server.post("/completion", {})
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert str(caught.value).startswith(fake.url)
    assert str(caught.value).isprintable()
    assert caught.value.status == reply.status
    assert len(fake.requests) == 1
    assert waits == []
    assert server.get("/") == "done"


def test_a_context_that_is_full_is_what_it_is_elsewhere() -> None:
    assert issubclass(RemoteFullError, ContextFullError)
    assert issubclass(RemoteError, EngineError)


def test_without_a_key_a_refusal_asks_for_one(fake: FakeServer) -> None:
    fake.script(Reply(401))
    with Server(fake.url) as server, pytest.raises(RemoteRefusedError, match="wants a key"):
        server.get("/")


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    status: int, server: Server, fake: FakeServer, waits: list[float]
) -> None:
    fake.script(*[Reply(status)] * 3)
    assert server.post("/", {}) == "done"
    assert len(waits) == server.traffic.retries == 3
    fake.script(*[Reply(status)] * 4)
    with pytest.raises(RemoteBusyError, match=str(status)):
        server.post("/", {})
    assert len(fake.requests) == 8


def test_a_model_that_loads_is_told(server: Server, fake: FakeServer, waits: list[float]) -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    fake.script(*[says(503, loading)] * 4)
    with pytest.raises(RemoteBusyError, match="still loads its model"):
        server.get("/health")


@pytest.mark.parametrize(("status", "asked"), [(429, 2), (408, 1), (502, 1), (503, 1), (504, 1)])
def test_what_does_harm_twice_is_sent_again_only_where_nothing_was_done(
    status: int, asked: int, server: Server, fake: FakeServer, waits: list[float]
) -> None:
    fake.script(Reply(status))
    if asked == 2:
        assert server.post("/", {}, safe=False) == "done"
    else:
        with pytest.raises(RemoteBusyError):
            server.post("/", {}, safe=False)
    assert len(fake.requests) == asked


def test_a_server_says_how_long_to_wait(
    server: Server, fake: FakeServer, waits: list[float]
) -> None:
    fake.script(Reply(429, headers={"Retry-After": "7"}))
    assert server.get("/") == "done"
    assert 7 <= waits[0] <= 8


def test_nobody_waits_for_an_hour(server: Server, fake: FakeServer, waits: list[float]) -> None:
    fake.script(Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RemoteBusyError, match="1 h 0 min"):
        server.get("/")
    assert waits == []
    fake.script(*[Reply(429, headers={"Retry-After": "25"})] * 3)
    with pytest.raises(RemoteBusyError, match="25 s"):
        server.get("/")
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 12 ", 12),
        ("1.5", 1.5),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 400, 1e12 - 1),
        ("Tue, 01 Jan 2030 12:00:09 GMT", 9),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0),
        (format_datetime(NOW), 0),
        ("Tue, 99 Jan 2030 12:00:09 GMT", None),
        ("Tue, 01 Jan 99999999 12:00:09 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW.timestamp()) == seconds


@given(st.text())
def test_retry_after_is_never_an_error(value: str) -> None:
    found = retry_after(value)
    assert found is None or found >= 0


def test_waits_grow_and_are_drawn() -> None:
    longest = [max(wait_before(attempt, None) for _ in range(200)) for attempt in (1, 2, 3, 20)]
    assert longest == sorted(longest)
    assert longest[0] <= FIRST_WAIT
    assert longest[-1] <= LONGEST_WAIT
    assert len({wait_before(3, None) for _ in range(20)}) > 1


def test_a_connection_that_is_refused_is_tried_again(waits: list[float]) -> None:
    with fake_server() as fake:
        url = fake.url
    with Server(url) as server, pytest.raises(RemoteUnreachableError):
        server.post("/", {}, safe=False)
    assert len(waits) == 3


def test_an_answer_that_takes_too_long_is_not_asked_for_again(fake: FakeServer) -> None:
    fake.script(Reply(delay=20))
    with (
        Server(fake.url, read_timeout=0.2) as server,
        pytest.raises(RemoteUnreachableError, match="no whole answer"),
    ):
        server.get("/")
    assert len(fake.requests) == 1
    assert fake.requests[0].left.wait(10), "the server learns that nobody waits"


def test_an_answer_that_never_ends_takes_too_long(fake: FakeServer) -> None:
    fake.script(Reply(value="x" * 1000, pause=0.1))
    with (
        Server(fake.url, read_timeout=0.5) as server,
        pytest.raises(RemoteUnreachableError, match="no whole answer"),
    ):
        server.get("/")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        f"your key {SECRET} is wrong",
        json.dumps({"error": {"message": f"your key {SECRET} is wrong"}}),
        json.dumps({"error": {"message": SECRET.replace("-", "\x00-")}}).replace("\\u0000", ""),
        json.dumps({"message": "x" * (MAX_QUOTED - 5) + SECRET}),
        json.dumps({"headers": {"Authorization": f"Bearer {SECRET}"}}),
        f"<html>{SECRET}",
    ],
)
def test_a_server_that_repeats_the_key_does_not_show_it(
    status: int, body: str, server: Server, fake: FakeServer, waits: list[float]
) -> None:
    fake.script(*[Reply(status, body=body.encode())] * 4)
    with pytest.raises(RemoteError) as caught:
        server.post("/", {})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown
    assert SECRET[:6] not in shown


@given(st.binary(max_size=500) | st.text().map(lambda text: json.dumps({"error": text}).encode()))
def test_what_a_server_says_is_one_short_line(body: bytes) -> None:
    text = quoted(body, KEY)
    assert text.isprintable()
    assert len(text) < MAX_QUOTED + 30


def test_patience_has_an_end(fake: FakeServer, waits: list[float]) -> None:
    fake.answer = lambda request: Reply(503)
    with Server(fake.url, retries=10_000) as server, pytest.raises(RemoteBusyError):
        server.get("/")
    assert sum(waits) <= retry.PATIENCE
    assert len(waits) > 5
