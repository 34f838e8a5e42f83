"""The URL of a server, checked before anything is sent to it.

A key must reach the server that was named and nobody else. So plain HTTP is for this machine alone
unless it was allowed, a URL carries no password, and a name in other letters than ASCII must be
the same after IDNA, which would turn ß into ss.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeproxy.errors import UsageError

SCHEMES = {"http": 80, "https": 443}
"""Each with the port that it means where none is given."""

MAX_URL = 2048

_PATH = re.compile(r"/?|(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")


@dataclass(frozen=True)
class Address:
    """Where a server is. `host` is ASCII; an IPv6 one has no brackets; `path` ends in no slash."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name."""
        return is_loopback(self.host)

    @property
    def origin(self) -> str:
        """Scheme, host and port, without the port that the scheme means anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == SCHEMES[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return self.origin + self.path


def parse_address(url: str, *, allow_http: bool = False) -> Address:
    """The address in `url`, such as `http://127.0.0.1:8080` or `https://models.example/v1`.

    Raises `UsageError` that never repeats a password.
    """
    if not isinstance(url, str) or not url:
        raise UsageError("a server's URL is empty; write one such as http://127.0.0.1:8080")
    # Before it is split: urlsplit takes newlines and tabs out in silence.
    if len(url) > MAX_URL or any(c.isspace() or not c.isprintable() or c == "\\" for c in url):
        raise UsageError(
            "a server's URL is too long, or holds spaces, control characters or a backslash; "
            "write one such as http://127.0.0.1:8080"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(
            f"{_without_login(url)}: this is no URL of a server; write one such as "
            "http://127.0.0.1:8080"
        ) from None
    shown = _without_login(url)
    if "@" in parts.netloc:
        raise UsageError(
            f"{shown}: a URL is shown and kept, so no name or password belongs into it; put the "
            "server's key into an environment variable or a file"
        )
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise UsageError(f"{shown}: a server's URL begins with http:// or https://")
    if "?" in url or "#" in url:
        raise UsageError(f"{shown}: a server's URL ends before ? and #; leave the rest out")
    if port == 0:
        raise UsageError(f"{shown}: a server has no port 0; write the port that it listens on")
    if not _PATH.fullmatch(parts.path) or "/." in parts.path:
        raise UsageError(f"{shown}: its path is not one of a server; write it as plain words")
    address = Address(
        parts.scheme, _host(host, shown), port or SCHEMES[parts.scheme], parts.path.rstrip("/")
    )
    if address.scheme == "http" and not (address.is_loopback or allow_http):
        raise UsageError(
            f"{shown}: over plain http, prompts and keys can be read on the way; use https, an "
            "SSH tunnel to 127.0.0.1, or allow http for this server (--allow-http) where you trust "
            "the network"
        )
    return address


def is_loopback(host: str) -> bool:
    """Whether `host` (an IP address, or a name) can only be this machine."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)


def _host(host: str, shown: str) -> str:
    """`host` in ASCII. Raises `UsageError` where it is none, or where IDNA makes another of it."""
    try:
        if ":" in host:
            if "%" in host:
                raise ValueError(host)
            return str(ipaddress.IPv6Address(host))
        encoded = host.encode("idna")
        found, back = encoded.decode("ascii").lower(), encoded.decode("idna")
    except ValueError:  # a UnicodeError is one
        raise UsageError(f"{shown}: {host!r} cannot be the name of a server; check it") from None
    if not host.isascii() and back != host:
        raise UsageError(
            f"{shown}: {host!r} would become {back!r}, maybe another server's name; write it in "
            "its ASCII form, which begins with xn--"
        )
    if not _NAME.fullmatch(found):
        raise UsageError(f"{shown}: {host!r} cannot be the name of a server; check it")
    return found


def _without_login(url: str) -> str:
    """`url` without whatever could be a password: what is before the last @, after ? and #."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    rest = rest.rpartition("@")[2]
    return re.split("[?#]", scheme + mark + rest)[0]
