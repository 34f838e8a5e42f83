"""Who may ask: by the name that this host was called, the page it comes from, and the key.

A page anywhere can make its reader's browser send requests to this machine. It cannot choose their
`Host` other than by a name of its own (DNS rebinding), nor leave `Origin` out, nor send JSON's
content type without being asked first whether it may (https://fetch.spec.whatwg.org).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.errors import UsageError
from edgeproxy.serve.http.asgi import JSON, headers_of
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.page.files import POLICY
from edgeproxy.serve.protocol import RefusedError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names by which a machine calls itself."""

PUBLIC = frozenset({"/", "/health"})
PUBLIC_BELOW = "/page/"
"""What is told without a key: that the server is there, and the page, which holds no secret."""

LEAST_KEY = 8

SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every answer."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Guards:
    """Who may ask. Raises `UsageError` for an impossible key, name or origin.

    - `key`: what requests must know; None lets everybody ask who reaches the server.
    - `hosts`: the names that `Host` may have, besides the address that a client has connected to;
      None takes any, for a socket that no browser reaches.
    - `origins`: whose pages may ask, such as "tauri://localhost", besides the server's own.
    """

    key: str | None
    hosts: frozenset[str] | None = LOOPBACK
    origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.key is not None:
            check_key(self.key)
        for name in self.hosts or ():
            found = _HOST.fullmatch(f"[{name}]" if ":" in name else name)
            if found is None:
                raise UsageError(f"a host is a name or an address without a port, not {name!r}")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(
                    f"an origin is a scheme and a host, with a port where it is not the usual one, "
                    f"such as https://example.org or tauri://localhost, not {origin!r}"
                )


def guards(
    key: str | None, host: str | None, hosts: Iterable[str] = (), origins: Iterable[str] = ()
) -> Guards:
    """Those of a server that listens at `host`, None for a socket. Raises as `Guards` does."""
    if host is None:
        return Guards(key, None, frozenset(origins))
    named = {host, *hosts} - {"0.0.0.0", "::", ""}
    return Guards(key, LOOPBACK | {name.lower().strip("[]") for name in named}, frozenset(origins))


def check_key(key: str) -> str:
    """The key as it is. Raises `UsageError`, which does not tell it."""
    if not _KEY.fullmatch(key):
        raise UsageError("a key is letters, digits and signs of ASCII, without spaces")
    if len(key) < LEAST_KEY:
        raise UsageError(
            f"a key has at least {LEAST_KEY} characters; leave it out to get a new one"
        )
    return key


class Guard:
    """Refuses requests before anything looks at what they ask for."""

    def __init__(self, app: ASGIApp, allowed: Guards, limits: Limits) -> None:
        self._app = app
        self._allowed = allowed
        self._limits = limits
        self._key = None if allowed.key is None else allowed.key.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it. Raises `RefusedError`."""
        _check_head(scope, self._limits)
        host = self._check_host(scope)
        self._check_origin(scope, host)
        if scope["method"] == "POST":
            _check_kind(scope, self._limits)
        if self._key is not None and not _is_public(scope):
            _check_key(scope, self._key)
        await self._app(scope, receive, send)

    def _check_host(self, scope: Scope) -> str:
        """The value of `Host`."""
        given = headers_of(scope, b"host")
        text = given[0].decode("latin-1") if len(given) == 1 else ""
        found = _HOST.fullmatch(text)
        if found is None:
            raise RefusedError("the header Host must be one host", "Host", "bad_host")
        name = found[1].strip("[]").lower()
        hosts = self._allowed.hosts
        if hosts is not None and name not in hosts and not _is_own_address(scope, name):
            raise RefusedError(
                "this server is not called by that name: use its address, or start it with "
                "--allow-host NAME",
                "Host",
                "host_not_allowed",
                403,
            )
        return text.lower()

    def _check_origin(self, scope: Scope, host: str) -> None:
        given = [value.decode("latin-1") for value in headers_of(scope, b"origin")]
        for origin in given:
            if origin in self._allowed.origins:
                continue
            # What is called as the page was is the page's own server, and its name is allowed.
            if origin.lower() in (f"http://{host}", f"https://{host}"):
                continue
            raise RefusedError(
                "pages of other origins may not ask this server: start it with "
                "--allow-origin ORIGIN to let them",
                "Origin",
                "origin_not_allowed",
                403,
            )


def _check_head(scope: Scope, limits: Limits) -> None:
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > limits.headers or size > limits.head:
        raise RefusedError("the headers are too many or too long", None, "headers_too_large", 431)
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > limits.target:
        raise RefusedError("the path is too long", None, "path_too_long", 414)
    if headers_of(scope, b"transfer-encoding") and headers_of(scope, b"content-length"):
        # Two lengths of one body are how a request is hidden in another one (RFC 9112, 6.3).
        raise RefusedError("a body has one length, not two", "Content-Length", "two_lengths")


def _check_kind(scope: Scope, limits: Limits) -> None:
    kinds = headers_of(scope, b"content-type")
    kind, _, rest = (kinds[0] if len(kinds) == 1 else b"").lower().partition(b";")
    charset = rest.strip().replace(b'"', b"")
    if kind.strip() != JSON or (charset.startswith(b"charset=") and charset[8:] != b"utf-8"):
        raise RefusedError(
            "a body is JSON in UTF-8, with the header Content-Type: application/json",
            "Content-Type",
            "unsupported_media_type",
            415,
        )
    if any(value.lower() != b"identity" for value in headers_of(scope, b"content-encoding")):
        raise RefusedError(
            "a body is sent as it is, not compressed", "Content-Encoding", "encoded_body", 415
        )
    lengths = headers_of(scope, b"content-length")
    if lengths and int(lengths[0]) > limits.body:
        raise too_large(limits)


def too_large(limits: Limits) -> RefusedError:
    """What is said of a body that has too many bytes."""
    what = f"a body has at most {limits.body:,} bytes here; --max-body of the server allows more"
    return RefusedError(what, None, "body_too_large", 413)


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    is_get = scope["method"] in ("GET", "HEAD")
    return is_get and (path in PUBLIC or path.startswith(PUBLIC_BELOW))


def _check_key(scope: Scope, key: bytes) -> None:
    given = list(headers_of(scope, b"x-api-key"))
    for value in headers_of(scope, b"authorization"):
        scheme, _, rest = value.partition(b" ")
        if scheme.lower() == b"bearer":
            given.append(rest.strip())
    # Each takes the same time, right or wrong, and all are looked at.
    if sum(hmac.compare_digest(each, key) for each in given):
        return
    what = "the key is wrong" if given else "a key is needed"
    raise RefusedError(
        f"{what}: send the server's, as Authorization: Bearer KEY", None, "invalid_api_key", 401
    )


def _is_own_address(scope: Scope, name: str) -> bool:
    """Whether a host is the very address that the client has connected to; no name of others'."""
    server = scope.get("server")
    try:
        asked = ipaddress.ip_address(name)
        return server is not None and asked == ipaddress.ip_address(server[0])
    except ValueError:
        return False


class SafeHeaders:
    """Gives every answer the headers that keep browsers from mischief."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it."""

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_safe)
