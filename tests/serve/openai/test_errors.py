"""Errors as OpenAI's protocol tells them, and what they keep to themselves."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from edgeproxy import errors
from edgeproxy.errors import (
    BusyError,
    Cancelled,
    ClosingError,
    ContextFullError,
    EdgeproxyError,
    EngineError,
    EngineLoadError,
    GrammarError,
    LogitsError,
    ModelFileError,
    OutOfMemoryError,
    PromptError,
    QueueFullError,
    RemoteBusyError,
    RemoteFullError,
    RemoteUnreachableError,
    UsageError,
    WorkerError,
)
from edgeproxy.serve.openai.errors import answer, no_embeddings
from edgeproxy.serve.protocol import RefusedError

SECRET = "/home/me/secret.gguf"


def test_the_body_is_openais() -> None:
    found = answer(RefusedError("tools: none", "tools", "unsupported_value"))
    assert (found.status, dict(found.headers)) == (400, {})
    assert found.body == {
        "error": {
            "message": "tools: none",
            "type": "invalid_request_error",
            "param": "tools",
            "code": "unsupported_value",
        }
    }


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (RefusedError("x", status=401), 401, "invalid_request_error", None),
        (RefusedError("x", "model", "c", 404), 404, "invalid_request_error", "c"),
        (RefusedError("x", status=413), 413, "invalid_request_error", None),
        (RefusedError("x", status=503), 503, "server_error", None),
        (no_embeddings(), 501, "not_supported_error", "not_supported"),
        (UsageError("x"), 400, "invalid_request_error", None),
        (PromptError("x"), 400, "invalid_request_error", None),
        (GrammarError("x"), 400, "invalid_request_error", None),
        (ContextFullError("x"), 400, "invalid_request_error", "context_length_exceeded"),
        (RemoteFullError("s", "x"), 400, "invalid_request_error", "context_length_exceeded"),
        (QueueFullError("x", 3), 429, "rate_limit_error", "queue_full"),
        (BusyError("x"), 503, "server_error", "busy"),
        (ClosingError("x"), 503, "server_error", "closing"),
        (Cancelled("x"), 503, "server_error", "cancelled"),
        (OutOfMemoryError("x"), 503, "server_error", "no_memory"),
        (RemoteBusyError("s", "x"), 503, "server_error", "base_server_busy"),
        (RemoteUnreachableError("s", "x"), 502, "engine_error", "base_server_failed"),
        (WorkerError("x"), 500, "worker_error", "worker_failed"),
        (LogitsError("x"), 500, "engine_error", "no_numbers"),
        (EngineError("x"), 500, "engine_error", "engine_failed"),
        (EngineLoadError("x"), 500, "engine_error", "engine_failed"),
        (ModelFileError(SECRET, "x"), 500, "server_error", "set_up"),
        (RuntimeError("x"), 500, "server_error", "internal_error"),
        (KeyError("x"), 500, "server_error", "internal_error"),
        (MemoryError(), 500, "server_error", "internal_error"),
        (RecursionError("x"), 500, "server_error", "internal_error"),
    ],
)
def test_statuses(error: Exception, status: int, kind: str, code: str | None) -> None:
    found = answer(error)
    assert (found.status, found.type, found.code) == (status, kind, code)
    assert found.is_foreseen == (code != "internal_error")
    assert found.message


def test_when_to_ask_again() -> None:
    assert answer(QueueFullError("full", 7)).headers == {"Retry-After": "7"}
    assert answer(QueueFullError("full", 0)).headers == {"Retry-After": "1"}
    for error in (ClosingError("x"), RefusedError("x", status=503), RefusedError("x", status=429)):
        assert int(answer(error).headers["Retry-After"]) >= 1
    assert answer(RefusedError("x", status=401)).headers == {"WWW-Authenticate": "Bearer"}
    assert answer(WorkerError("x")).headers == {}


def made(kind: type[EdgeproxyError]) -> EdgeproxyError:
    """An error of this kind, all of whose texts are a secret."""
    if kind.__init__ is Exception.__init__:
        return kind(SECRET)
    needed = list(inspect.signature(kind.__init__).parameters.values())[1:]
    values: list[Any] = [7 if p.name == "retry_after" else SECRET for p in needed]
    return kind(*values[: len([p for p in needed if p.default is p.empty])])


EVERY = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, EdgeproxyError)
]
TOLD = (UsageError, ContextFullError, BusyError, ClosingError, LogitsError)
"""Those whose text is about the request, or made for whoever asks."""


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_wrong_with_the_server_is_not_told(kind: type[EdgeproxyError]) -> None:
    found = answer(made(kind))
    assert (SECRET in json.dumps(found.body)) == issubclass(kind, TOLD)
    assert 400 <= found.status < 600
    assert found.is_foreseen


@pytest.mark.parametrize("error", [RuntimeError(SECRET), OSError(13, SECRET), Exception(SECRET)])
def test_nothing_of_a_fault_is_told(error: Exception) -> None:
    assert SECRET not in json.dumps(answer(error).body)


def test_what_a_worker_wrote_is_not_told() -> None:
    found = answer(WorkerError(SECRET, "SIGABRT", (SECRET,)))
    assert "SIGABRT" in found.message
    assert SECRET not in found.message


def test_every_message_can_be_sent() -> None:
    json.dumps(answer(UsageError("half \ud800")).body, ensure_ascii=False).encode()
