"""An error, whatever it is -> a status of HTTP, OpenAI's body for errors, and headers.

What a request has done wrong is told as it is. Of what is wrong with the server, its files, its
models or another server only the kind is told: the rest is for the server's own log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeproxy.errors import (
    BusyError,
    Cancelled,
    ClosingError,
    ContextFullError,
    EdgeproxyError,
    EngineError,
    LogitsError,
    OutOfMemoryError,
    QueueFullError,
    RemoteBusyError,
    RemoteError,
    UsageError,
    WorkerError,
)
from edgeproxy.serve.protocol import RefusedError

BAD_REQUEST, UNAUTHORIZED, TOO_MANY = 400, 401, 429
FAILED, NOT_BUILT, BAD_GATEWAY, UNAVAILABLE = 500, 501, 502, 503

AGAIN_SECONDS = 2
"""When to ask again where nobody knows better."""

_INVALID, _SERVER = "invalid_request_error", "server_error"
_LOG = "the server's log says more"


@dataclass(frozen=True)
class Answered:
    """What a request gets in place of an answer. `is_foreseen` is not so of a fault of ours."""

    status: int
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_foreseen: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body, as OpenAI has it."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def answer(error: BaseException) -> Answered:
    """What a request gets where `error` ended it."""
    match error:
        case RefusedError():
            return _refused(error)
        case ContextFullError():
            return Answered(BAD_REQUEST, _text(error), _INVALID, code="context_length_exceeded")
        case UsageError():
            return Answered(BAD_REQUEST, _text(error), _INVALID)
        case QueueFullError():
            again = _again(error.retry_after)
            return Answered(TOO_MANY, _text(error), "rate_limit_error", None, "queue_full", again)
        case BusyError():
            return _later(_text(error), "busy")
        case ClosingError():
            return _later(_text(error), "closing")
        case Cancelled():
            return _later("the request was withdrawn", "cancelled")
        case OutOfMemoryError():
            return _later(f"there is too little memory for the models now; {_LOG}", "no_memory")
        case RemoteBusyError():
            return _later("the base's server has too much to do", "base_server_busy")
        case RemoteError():
            what = f"the base's server failed or is out of reach; {_LOG}"
            return Answered(BAD_GATEWAY, what, "engine_error", None, "base_server_failed")
        case WorkerError():
            return Answered(FAILED, _worker(error), "worker_error", None, "worker_failed")
        case LogitsError():
            return Answered(FAILED, _text(error), "engine_error", None, "no_numbers")
        case EngineError():
            what = f"the engine failed; {_LOG}"
            return Answered(FAILED, what, "engine_error", None, "engine_failed")
        case EdgeproxyError():
            what = f"the server cannot answer as it is set up; {_LOG}"
            return Answered(FAILED, what, _SERVER, None, "set_up")
    what = f"the server failed on this request, and that is its own fault; {_LOG}"
    return Answered(FAILED, what, _SERVER, None, "internal_error", is_foreseen=False)


def _refused(error: RefusedError) -> Answered:
    status = error.status
    kind = _SERVER if status >= FAILED else _INVALID
    headers = {}
    if status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == NOT_BUILT:
        kind = "not_supported_error"
    if status in (TOO_MANY, UNAVAILABLE):
        headers |= _again(AGAIN_SECONDS)
        kind = "rate_limit_error" if status == TOO_MANY else kind
    return Answered(status, _text(error), kind, error.param, error.code, headers)


def _later(what: str, code: str) -> Answered:
    return Answered(UNAVAILABLE, what, _SERVER, None, code, _again(AGAIN_SECONDS))


def _again(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(max(1, seconds))}


def _worker(error: WorkerError) -> str:
    by = f" by {error.signal}" if error.signal else ""
    return f"the process that the models run in ended{by}; the next request starts a fresh one"


def _text(error: BaseException) -> str:
    """The error's message, of which every character can be sent."""
    return str(error).encode("utf-8", "backslashreplace").decode("utf-8")


def no_embeddings() -> RefusedError:
    """What `/v1/embeddings` answers."""
    what = "this server makes no embeddings: it has no model for them"
    return RefusedError(what, None, "not_supported", NOT_BUILT)
