"""Hundreds of requests through a proxy that breaks them: each is answered rightly, or one error."""

from __future__ import annotations

import threading
import time
import traceback

import pytest

from edgeproxy.errors import RemoteError
from edgeproxy.remote import retry
from edgeproxy.remote.key import Key
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import fake_server
from tests.helpers.faulty_proxy import FAULTS, faulty_proxy

SECRET = "sk-0123456789"
REQUESTS = 200
READ_TIMEOUT = 0.3
LONGEST = 30.0
"""Seconds that no request may take, however slow this machine is; most take some hundredths."""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.002)


def ask(server: Server, numbers: range, wrong: list[object], shown: list[str]) -> int:
    """How many were answered; what was wrong, and every text of an error, go to the lists."""
    right = 0
    for i in numbers:
        began = time.monotonic()
        try:
            answer = server.post("/completion", {"prompt": [i] * 50})
        except RemoteError as error:
            shown.append("".join(traceback.format_exception(error)) + repr(error))
        else:
            right += answer == {"prompt": [i] * 50}
            if answer != {"prompt": [i] * 50}:
                wrong.append((i, answer))
        if time.monotonic() - began > LONGEST:
            wrong.append((i, "hung"))
    return right


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_each_request_is_answered_rightly_or_one_clear_error(seed: int) -> None:
    wrong: list[object] = []
    shown: list[str] = []
    with (
        fake_server(lambda request: request.json) as fake,
        faulty_proxy(fake.port, seed) as proxy,
        Server(proxy.url, Key(SECRET), read_timeout=READ_TIMEOUT) as server,
    ):
        right = ask(server, range(REQUESTS), wrong, shown)
        assert server.traffic.requests == right
    assert wrong == []
    assert set(FAULTS) <= set(proxy.met)
    assert right > REQUESTS / 3
    assert not any(SECRET in text or SECRET[:6] in text for text in shown)


@pytest.mark.slow
def test_several_threads_through_faults() -> None:
    wrong: list[object] = []
    shown: list[str] = []
    with (
        fake_server(lambda request: request.json) as fake,
        faulty_proxy(fake.port, 5) as proxy,
        Server(proxy.url, Key(SECRET), read_timeout=READ_TIMEOUT) as server,
    ):
        ranges = [range(k * 1000, k * 1000 + REQUESTS // 4) for k in range(4)]
        threads = [
            threading.Thread(target=ask, args=(server, numbers, wrong, shown)) for numbers in ranges
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert not any(SECRET in text for text in shown)


@pytest.mark.parametrize(
    "fault", ["drop before", "drop after", "truncate", "busy", "unavailable", "close later"]
)
def test_what_passes_is_never_an_error(fault: str) -> None:
    """Half of the answers fail; with enough tries every request is answered."""
    wrong: list[object] = []
    shown: list[str] = []
    with (
        fake_server(lambda request: request.json) as fake,
        faulty_proxy(fake.port, 1, faults=[fault]) as proxy,
        Server(proxy.url, read_timeout=20, retries=40) as server,
    ):
        right = ask(server, range(40), wrong, shown)
    assert (right, wrong, shown) == (40, [], [])


@pytest.mark.parametrize("fault", ["drop before", "drop after", "truncate", "unavailable", "fail"])
def test_what_does_harm_twice_is_done_once_at_most(fault: str) -> None:
    done: list[int] = []
    with (
        fake_server(lambda request: done.append(request.json["i"])) as fake,
        faulty_proxy(fake.port, 2, faults=[fault]) as proxy,
        Server(proxy.url, read_timeout=20) as server,
    ):
        for i in range(60):
            try:
                server.post("/x", {"i": i}, safe=False)
            except RemoteError:
                continue
    assert len(done) == len(set(done)), "each at most once"
    assert len(done) >= 15
