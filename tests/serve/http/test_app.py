"""What each path is served, and what errors are answered as."""

from __future__ import annotations

import json
import logging

import pytest

from edgeproxy.serve.http.answering import framed
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.protocol import Sent
from tests.helpers.http_fakes import ASK, COUNT, SECRET, WITH_KEY, Asking


def events(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(":")]


def test_a_plain_call_is_answered_whole() -> None:
    asking = Asking()
    found = asking.post({"text": "hello"}, **{"User-Agent": "probe/1"})
    assert (found.status_code, found.json()) == (200, {"text": "hello"})
    assert found.headers["content-type"] == "application/json"
    assert asking.engine.asked[0].who == "127.0.0.1 probe/1"


def test_a_stream_is_server_sent_events() -> None:
    found = Asking().post({"text": "hello", "stream": True})
    assert found.status_code == 200
    assert found.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events(found.text) == ['data: {"text":"hello"}', "data: [DONE]"]


def test_a_long_name_of_a_program_is_cut() -> None:
    asking = Asking()
    asking.post({"text": "hello"}, **{"User-Agent": "x" * 5000})
    assert len(asking.engine.asked[0].who) < 120


def test_tokens_are_counted() -> None:
    assert Asking().post({"text": "hello"}, COUNT).json() == {"tokens": 5}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("text", "status"), [("full", 429), ("long", 400)])
def test_an_error_before_the_first_event_has_its_status(
    text: str, status: int, streams: bool
) -> None:
    found = Asking().post({"text": text, "stream": streams})
    assert found.status_code == status
    assert found.json()["error"]["message"]
    assert found.headers.get("Retry-After") == ("7" if status == 429 else None)


@pytest.mark.parametrize("text", ["break", "bug"])
def test_a_plain_call_that_breaks_is_one_error(text: str, caplog: pytest.LogCaptureFixture) -> None:
    found = Asking().post({"text": text})
    assert found.status_code == 500
    assert SECRET not in found.text
    assert SECRET in caplog.text
    assert found.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize("text", ["break", "bug"])
def test_a_stream_that_breaks_says_so_in_itself(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = Asking().post({"text": text, "stream": True})
    assert found.status_code == 200
    said, event, error, done = events(found.text)
    assert json.loads(said.removeprefix("data: ")) == {"text": text}
    assert event == "event: error"
    assert json.loads(error.removeprefix("data: "))["error"]["message"]
    assert done == "data: [DONE]"
    assert SECRET not in found.text
    assert SECRET in caplog.text


def test_a_refused_request_writes_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    asking = Asking()
    with caplog.at_level(logging.DEBUG, "edgeproxy"):
        for body, path in (({"text": 1}, ASK), ({"text": "full"}, ASK), ({}, "/v1/embeddings")):
            assert asking.post(body, path).status_code >= 400
    assert caplog.text == ""


def test_a_stream_shows_signs_of_life_while_nothing_comes() -> None:
    asking = Asking(limits=Limits(start_seconds=0.01, beat_seconds=0.01))
    asking.engine.load_seconds = 0.3
    found = asking.post({"text": "hello", "stream": True})
    assert found.text.startswith(": \n\n")
    assert found.text.count(": \n\n") > 1
    assert events(found.text) == ['data: {"text":"hello"}', "data: [DONE]"]


@pytest.mark.parametrize(
    ("sent", "bytes_of_it"),
    [
        (Sent({"a": "é\n"}), 'data: {"a":"é\\n"}\n\n'.encode()),
        (Sent({"a": "\udc80"}), b'data: {"a":"\\udc80"}\n\n'),
        (Sent("[DONE]"), b"data: [DONE]\n\n"),
        (Sent({}, "response.completed"), b"event: response.completed\ndata: {}\n\n"),
    ],
)
def test_messages_are_framed(sent: Sent, bytes_of_it: bytes) -> None:
    assert framed(sent) == bytes_of_it


def test_no_number_is_sent_that_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        framed(Sent({"a": float("nan")}))


@pytest.mark.parametrize(
    ("word", "status"),
    [("ready", 200), ("asleep", 200), ("loading", 503), ("failed", 503), ("closing", 503)],
)
def test_health_is_told_to_everybody(word: str, status: int) -> None:
    asking = Asking()
    asking.engine.state.word = word
    found = asking.ask("GET", "/health")
    assert found.status_code == status
    assert found.json()["models"] == word
    assert ("share" in found.json()) == (word == "loading")


def test_models_are_listed_and_one_is_told() -> None:
    asking = Asking()
    assert asking.ask("GET", "/v1/models", headers=WITH_KEY).json()["data"][0]["id"] == "fake:trio"
    assert asking.ask("GET", "/v1/models/fake:trio", headers=WITH_KEY).status_code == 200
    assert asking.ask("GET", "/v1/models/fake/trio", headers=WITH_KEY).status_code == 404


def test_figures_are_told_with_what_was_answered() -> None:
    asking = Asking()
    asking.post({"text": "hello"})
    asking.post({"text": "full"})
    text = asking.ask("GET", "/metrics", headers=WITH_KEY).text
    assert "edgeproxy_asked_total 2" in text
    assert 'edgeproxy_http_answers_total{status="429"} 1' in text


def test_the_page_and_its_files_are_told_to_everybody() -> None:
    asking = Asking()
    assert asking.ask("GET", "/").text == "<!doctype html>"
    script = asking.ask("GET", "/page/explain/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert asking.ask("HEAD", "/").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/x", "/page"],
)
def test_no_other_file_is_told(path: str) -> None:
    assert Asking().ask("GET", path, headers=WITH_KEY).status_code == 404


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/v1/edgeproxy/about"])
def test_what_is_no_page_needs_the_key(path: str) -> None:
    asking = Asking()
    assert asking.ask("GET", path).status_code == 401
    assert asking.ask("GET", path, headers=WITH_KEY).status_code == 200


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/ask/", "/health/", "/x//y", "/v1/models/"]
)
def test_an_unknown_path_is_said_as_all_errors_are(path: str) -> None:
    found = Asking().ask("GET", path, headers=WITH_KEY)
    assert found.status_code == 404
    assert found.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", ASK, "POST"),
        ("DELETE", ASK, "POST"),
        ("PUT", "/health", "GET, HEAD"),
        ("OPTIONS", "/v1/models", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str) -> None:
    found = Asking().ask(method, path, headers=WITH_KEY)
    assert found.status_code == 405
    assert ", ".join(sorted(found.headers["allow"].split(", "))) == allowed
    assert found.json()["error"]["code"] == "method_not_allowed"


def test_what_is_known_and_not_supported_is_refused() -> None:
    assert Asking().post({"input": "x"}, "/v1/embeddings").status_code == 501
