"""What a server's refusal, or the failure to reach it, means, and the remedy.

What a server says is quoted as one line without control characters, shortened, and without the key.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from typing import Any
from urllib.parse import urljoin

from edgeproxy.errors import (
    RemoteBusyError,
    RemoteError,
    RemoteFullError,
    RemoteRefusedError,
    RemoteUnreachableError,
    UsageError,
)
from edgeproxy.files import reason
from edgeproxy.remote.address import Address, parse_address
from edgeproxy.remote.answers import Answer
from edgeproxy.remote.key import Key
from edgeproxy.remote.wire import ProxyError
from edgeproxy.units import duration

MAX_QUOTED = 300
"""Characters of what a server says."""

_FULL = re.compile(
    r"exceed_context_size|context_length_exceeded|maximum context length|context size"
    r"|too many tokens|prompt is too long|longer than the maximum model length",
    re.IGNORECASE,
)
"""What servers call a prompt that is too long: llama-server, OpenAI, vLLM, others."""

_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)


def refusal(address: Address, path: str, answer: Answer, key: Key | None) -> RemoteError:
    """The error for an answer with a status that is no success."""
    status, said = answer.status, quoted(answer.body, key)
    if 300 <= status < 400:
        return RemoteRefusedError(address, _redirect(address, path, answer, key), status)
    if status in (401, 403):
        what = "it refuses the key" if key else "it wants a key"
        remedy = "check the key" if key else "name the environment variable or file with its key"
        return RemoteRefusedError(address, f"{what} ({status}); {remedy}{said}", status)
    if status == 413 or (
        400 <= status < 500 and _FULL.search(answer.body.decode("utf-8", "replace"))
    ):
        what = "the text is too long for this server"
        return RemoteFullError(address, f"{what} ({status}); use a shorter one{said}", status)
    if status in (404, 405, 501):
        return RemoteRefusedError(
            address,
            f"it has nothing at {path}, or not the model that was named ({status}); check the "
            f"URL, the name of the model, and how the server was started{said}",
            status,
        )
    if status in (408, 429, 502, 503, 504, 529):
        what = "it still loads its model" if b"oading model" in answer.body else _BUSY[status]
        return RemoteBusyError(address, f"{what} ({status}); try again later{said}", status)
    if 400 <= status < 500:
        return RemoteRefusedError(address, f"it refuses the request ({status}){said}", status)
    return RemoteError(
        address, f"it failed by itself ({status}); its log may say why{said}", status
    )


_BUSY = {
    408: "it waited too long for the request",
    429: "too many requests for it",
    502: "there is no server behind the one that answered",
    503: "it is too busy, or not ready yet",
    504: "the server behind the one that answered is too slow",
    529: "it is overloaded",
}


def too_patient(address: Address, error: RemoteError, seconds: float) -> RemoteBusyError:
    """The error where a server wants a longer wait than anyone has patience for."""
    what = f"it asks to wait {duration(seconds)} ({error.status}); try again then"
    return RemoteBusyError(address, what, error.status)


def unreachable(address: Address, error: OSError) -> RemoteUnreachableError:
    """The error for a connection that could not be made."""
    return RemoteUnreachableError(address, _why(address, error))


def may_pass(error: OSError) -> bool:
    """Whether a connection that could not be made may be possible in a moment."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return not isinstance(error, ssl.SSLError | ProxyError)


def _why(address: Address, error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({clean(error.verify_message)}); check the name in "
            "the URL, or name the file of your own authority's certificates"
        )
    if isinstance(error, ssl.SSLError):
        what = clean(error.reason or str(error)).replace("_", " ").lower()
        return f"there is no TLS with it ({what}); check whether the URL is of http or https"
    if isinstance(error, socket.gaierror):
        return f"the name {address.host} is not found; check the URL and the network"
    if isinstance(error, TimeoutError):
        return "no connection within the time for it; check the URL, and whether the server runs"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {address.port}; start the server, or check the URL"
    return f"no connection ({clean(reason(error))}); check the URL and the network"


def _redirect(address: Address, path: str, answer: Answer, key: Key | None) -> str:
    where = "elsewhere"
    with contextlib.suppress(UsageError, ValueError):
        target = urljoin(f"{address}{path}", answer.headers.get("location", ""))
        there = parse_address(re.split("[?#]", target)[0], allow_http=True)
        where = f"to {_scrubbed(str(there), key)[:MAX_QUOTED]}"
    return (
        f"it sends requests {where} ({answer.status}), where none goes, with the key least of "
        "all; if that is the server's address, write it as the URL"
    )


def quoted(body: bytes, key: Key | None) -> str:
    """`: it says "..."` with what a server says of its refusal; "" where it says nothing."""
    if _MARKUP.match(body):
        return ": it says it as a web page, so the URL may be of something else"
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        text = _message(json.loads(text)) or text
    # Cleaned before the key is looked for, and cut afterwards, so that no part of it is left.
    text = _scrubbed(clean(text), key)
    if len(text) > MAX_QUOTED:
        text = text[:MAX_QUOTED].rstrip() + " ..."
    return f': it says "{text}"' if text else ""


def _message(value: Any) -> str:
    """What is for people in a refusal of llama-server's, vLLM's, OpenAI's or FastAPI's."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # FastAPI's: one object for each field that is wrong
        said = (_message(item) for item in value[:3])
        return "; ".join(text for text in said if text)
    if isinstance(value, dict):
        for name in ("error", "message", "detail", "msg"):
            if text := _message(value.get(name)):
                where = value.get("loc")
                if name == "msg" and isinstance(where, list):
                    return f"{'.'.join(map(str, where[:5]))}: {text}"
                return text
    return ""


def clean(text: str) -> str:
    """`text` as one line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _scrubbed(text: str, key: Key | None) -> str:
    return text if key is None else key.scrubbed(text)
