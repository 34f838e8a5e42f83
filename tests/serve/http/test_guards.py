"""Who may ask: hosts, origins, keys, kinds of bodies."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.serve.http.guards import Guards, guards
from edgeproxy.serve.http.limits import Limits
from tests.helpers.http_fakes import ASK, JSON, KEY, WITH_KEY, Asking

TAURI = "tauri://localhost"


def status(asking: Asking, **headers: str) -> int:
    return asking.ask("POST", ASK, content="{}", headers=JSON | WITH_KEY | headers).status_code


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("127.0.0.1:1", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil-localhost", False),
        ("localhost.", False),
        ("0.0.0.0", False),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f000001", False),
        ("[::ffff:127.0.0.1]", False),
        ("192.168.1.1", False),
    ],
)
def test_a_server_answers_to_its_own_names_alone(host: str, is_allowed: bool) -> None:
    found = Asking().ask("GET", "/health", headers={"Host": host})
    assert found.status_code == (200 if is_allowed else 403)


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "user@localhost", "localhost:", "localhost:port", "localhost/", "a,localhost",
     "localhost#x", "localhost?x", "[::1", "::1", "localhost:123456", "loc\u00e4lhost", "x" * 300],
)  # fmt: skip
def test_a_damaged_host_is_refused(host: str) -> None:
    found = Asking().ask("GET", "/health", headers=[(b"Host", host.encode("latin-1"))])
    assert found.status_code in (400, 403)


@pytest.mark.parametrize("given", [[], ["127.0.0.1", "127.0.0.1"], ["127.0.0.1", "evil.example"]])
def test_there_is_one_host(given: list[str]) -> None:
    assert Asking().ask(
        "GET", "/health", headers=[("Host", each) for each in given]
    ).status_code == (
        200 if not given else 400  # httpx sends one where none is given
    )


def test_other_names_can_be_allowed() -> None:
    asking = Asking(allowed=guards(KEY, "0.0.0.0", ["box.example"]))
    assert asking.ask("GET", "/health", headers={"Host": "box.example:80"}).status_code == 200
    assert asking.ask("GET", "/health", headers={"Host": "0.0.0.0"}).status_code == 403


def test_the_address_that_was_connected_to_is_a_name_of_the_server() -> None:
    asking = Asking(allowed=guards(KEY, "0.0.0.0"), host="192.168.1.5:8080")
    assert asking.ask("GET", "/health").status_code == 200  # httpx says the server is that
    assert asking.ask("GET", "/health", headers={"Host": "192.168.1.6"}).status_code == 403


def test_a_socket_has_no_names() -> None:
    asking = Asking(allowed=guards(None, None))
    assert asking.ask("GET", "/health", headers={"Host": "whatever"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://127.0.0.1:8080", True),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:8081", False),
        ("http://localhost:8080", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:8080.evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        (TAURI, False),
        ("chrome-extension://abcdefgh", False),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("POST", ASK)])
def test_pages_of_other_origins_are_refused(
    origin: str, is_allowed: bool, method: str, path: str
) -> None:
    headers = WITH_KEY | JSON | {"Origin": origin}
    found = Asking().ask(method, path, content=b'{"text":"x"}', headers=headers)
    assert found.status_code == (200 if is_allowed else 403)
    assert not [name for name in found.headers if name.startswith("access-control")]


def test_a_page_of_an_origin_that_is_allowed_can_ask() -> None:
    asking = Asking(allowed=guards(KEY, "127.0.0.1", (), [TAURI]))
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    wanted = {"Access-Control-Request-Headers": "authorization,content-type,x-stainless-os"}
    found = asking.ask("OPTIONS", ASK, headers={"Origin": TAURI} | asks | wanted)
    assert found.status_code == 200
    assert found.headers["access-control-allow-origin"] == TAURI
    assert found.headers["access-control-allow-private-network"] == "true"
    assert "x-stainless-os" in found.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in found.headers
    told = asking.post({"text": "x"}, Origin=TAURI)
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, TAURI)
    # So that the page can read why.
    wrong = asking.ask("POST", ASK, headers=JSON | {"Origin": TAURI})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, TAURI)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "tauri://localhost.evil"])
def test_other_pages_cannot_all_the_same(origin: str) -> None:
    asking = Asking(allowed=guards(KEY, "127.0.0.1", (), [TAURI]))
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for found in (
        asking.ask("OPTIONS", ASK, headers=asks),
        asking.post({"text": "x"}, Origin=origin),
    ):
        assert found.status_code in (400, 403)
        assert "access-control-allow-origin" not in found.headers
    assert asking.engine.asked == []


@pytest.mark.parametrize(
    ("headers", "is_right"),
    [
        ({"Authorization": f"Bearer {KEY}"}, True),
        ({"Authorization": f"bearer  {KEY} "}, True),
        ({"X-API-Key": KEY}, True),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"}, True),
        ({}, False),
        ({"Authorization": KEY}, False),
        ({"Authorization": f"Basic {KEY}"}, False),
        ({"Authorization": "Bearer "}, False),
        ({"Authorization": f"Bearer {KEY}x"}, False),
        ({"Authorization": f"Bearer {KEY[:-1]}"}, False),
        ({"Authorization": f"Bearer {KEY.upper()}"}, False),
        ({"X-API-Key": ""}, False),
        ({"X-API-Key": "\u00e4"}, False),
        ({"Cookie": f"key={KEY}"}, False),
    ],
)
def test_the_key_is_asked_for(headers: dict[str, str], is_right: bool) -> None:
    given = [(name, value.encode("latin-1")) for name, value in (JSON | headers).items()]
    asking = Asking()
    found = asking.ask("POST", ASK, content=b'{"text":"x"}', headers=given)
    assert found.status_code == (200 if is_right else 401)
    assert KEY not in found.text
    assert len(asking.engine.asked) == is_right


@pytest.mark.parametrize("path", [f"{ASK}?key={KEY}", "/health/../v1/models", "/page/../v1/models"])
def test_no_path_leads_around_the_key(path: str) -> None:
    assert Asking().ask("GET", path).status_code in (401, 404)


def test_without_a_key_everybody_may_ask_who_gets_here() -> None:
    asking = Asking(allowed=Guards(None))
    assert asking.ask("POST", ASK, json={"text": "x"}).status_code == 200
    assert (
        asking.ask("POST", ASK, json={}, headers={"Origin": "http://evil.example"}).status_code
        == 403
    )


@pytest.mark.parametrize(
    ("kind", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json; charset=utf-16", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("application/jsonx", False),
        ("text/plain; application/json", False),
        ("", False),
    ],
)
def test_a_body_says_that_it_is_json(kind: str, is_json: bool) -> None:
    headers = WITH_KEY | {"Content-Type": kind}
    found = Asking().ask("POST", ASK, content=b'{"text":"x"}', headers=headers)
    assert found.status_code == (200 if is_json else 415)


def test_a_body_is_not_compressed() -> None:
    assert status(Asking(), **{"Content-Encoding": "gzip"}) == 415


def test_there_are_not_too_many_headers_nor_too_long_ones() -> None:
    asking = Asking(limits=Limits(head=2000, headers=20, target=100))
    assert status(asking, **{f"X-{n}": "x" for n in range(20)}) == 431
    assert status(asking, **{"X-Long": "x" * 2000}) == 431
    assert asking.ask("GET", f"/{'x' * 100}").status_code == 414
    assert asking.ask("GET", f"/health?{'x' * 100}").status_code == 414


@pytest.mark.parametrize(
    "headers", [{}, WITH_KEY, {"Host": "evil.example"}, {"Origin": "null"}], ids=str
)
def test_every_answer_keeps_browsers_from_mischief(headers: dict[str, Any]) -> None:
    for path in ("/", "/nothing", "/health"):
        found = Asking().ask("GET", path, headers=headers).headers
        assert "frame-ancestors 'none'" in found["content-security-policy"]
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert found["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "key", ["", "short", "with space", "schl\u00fcssel-lang", "new\nline-line"]
)
def test_an_impossible_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(UsageError) as refused:
        Guards(key)
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("host", ["a b", "a:80:80/x", "http://a", "a/b", "*"])
def test_an_impossible_host_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="a host is"):
        guards(KEY, "127.0.0.1", [host])


@pytest.mark.parametrize(
    "origin", ["*", "null", "localhost", "http://", "http://a/b", "http://a b"]
)
def test_an_impossible_origin_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="an origin is"):
        guards(KEY, "127.0.0.1", [], [origin])
