"""An explained reply as one HTML file that asks nobody for anything.

The page is plain HTML, CSS and modules of JavaScript in `page/`, which a server may hand out as
they are. Here they are joined: the modules in the order in which they import each other, without
their `import` and `export`, and the data as JSON in the page. A content security policy with the
hashes of the style and the script allows these two and nothing else.

May touch: the files of the page, read only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

from edgeproxy.explain.form import Explanation, as_json

FOLDER = Path(__file__).parent / "page"
PAGE, STYLE, SCRIPT = "page.html", "style.css", "main.js"

_IMPORT = re.compile(r'^import (?:\{[^}]*\} from )?"\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\b)", re.MULTILINE)

# Inside a script element these would end it, or begin a comment in it.
_IN_SCRIPT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def page_of(explanation: Explanation) -> str:
    """The file's text, in UTF-8 also where a browser would guess otherwise."""
    style, script = _file(STYLE), joined_script()
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(as_json(explanation), ensure_ascii=False, separators=(",", ":"))
    return _filled(
        _file(PAGE),
        policy=escape(policy),
        style=style,
        script=script,
        # Half of a surrogate pair cannot be written, and no text of a model's has one.
        data=data.translate(_IN_SCRIPT),
    )


@cache
def joined_script() -> str:
    """All modules of the page as one script."""
    return "".join(_joined(SCRIPT, set()))


def _joined(name: str, seen: set[str]) -> Iterator[str]:
    """What the module `name` imports, and then itself; each module once."""
    if name in seen:
        return
    seen.add(name)
    source = _file(name)
    for imported in _IMPORT.findall(source):
        yield from _joined(imported, seen)
    yield _EXPORT.sub("", _IMPORT.sub("", source))


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _filled(template: str, **parts: str) -> str:
    """`template` with `{{name}}` replaced, and nothing in the parts that are put in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
