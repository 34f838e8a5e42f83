"""Links of Markdown pages: each one within the repository leads to a file, and to a heading in it.

Addresses of the web are not looked at: the check works without a network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_DEFINED = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def broken_links(page: Path, root: Path) -> Iterator[str]:
    """What is wrong with the links of `page`, a line each that names the page and the link."""
    where = page.relative_to(root).as_posix()
    for target in links(page.read_text("utf-8")):
        if _SCHEME.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page.resolve()
        if not file.is_relative_to(root.resolve()):
            yield f"{where}: the link to {target} leads out of the repository"
        elif not file.exists():
            yield f"{where}: the link to {target} leads nowhere: there is no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{where}: the link to {target} leads nowhere: there is no such heading"


def links(text: str) -> list[str]:
    """The targets of all links and images in a page, those within code left out."""
    text = _CODE.sub("`code`", _FENCE.sub("", text))
    return [*_LINK.findall(text), *_DEFINED.findall(text)]


def anchors(page: Path) -> set[str]:
    """What may follow `#` in a link to `page`: its headings, as GitHub spells them in links."""
    if page.suffix != ".md":
        return set()
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8"))):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found
