"""The files of the page, as a server sends them, and the policy that goes with them.

May touch: the files of the page in this package and in `explain`, read only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

PAGE = "page.html"
"""What stands at `/`; the others are below `/page/`."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The `Content-Security-Policy` of every answer that a browser may show."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
"""Content types. With `X-Content-Type-Options: nosniff` a browser takes no other for these."""

FOLDERS = {"": ("serve", "page"), "explain/": ("explain", "page")}
"""Where in edgeproxy the files are whose names begin so."""

_ONLY_ALONE = {"explain/main.js", "explain/page.html"}
"""What the component needs where no server is behind it."""


@cache
def page_files() -> Mapping[str, tuple[str, bytes]]:
    """Content type and bytes of each file, by its name: "page.html", "explain/reply.js".

    The names are all that may be asked for below `/page/`, so no request makes a path.
    """
    found = {}
    for prefix, (room, folder) in FOLDERS.items():
        for path in (files("edgeproxy") / room / folder).iterdir():
            kind = TYPES.get("." + path.name.rpartition(".")[2])
            name = prefix + path.name
            if kind is not None and name not in _ONLY_ALONE:
                found[name] = (kind, path.read_bytes())
    return MappingProxyType(dict(sorted(found.items())))
