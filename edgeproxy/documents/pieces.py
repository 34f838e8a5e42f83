"""The pieces of a reply that each say something: sentences, items, rows, lines of code, values.

A reply that is JSON as a whole gives its leaves; its keys are form. In any other reply headings,
rules and the head of a table say nothing by themselves, and what the model wrote as a citation is
no part of what it says: "[3]", "(source: budget.pdf, p. 2)", the address of a link.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCED = re.compile(r"\s*```[a-zA-Z]*\s*\n(?P<inside>[^`]*)```\s*\Z")
_FENCE = re.compile(r"\s{0,9}(?:`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_RULE = re.compile(r"[\s|:=_*+-]*\Z")
_ITEM = re.compile(r"\s*(?:[-*+•‣▪·–—]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+")
_ROW = re.compile(r"\s*\|.*\|\s*\Z")
_CLOSING = "\"'”’»)\\]*_」』）"
_END = re.compile(
    rf"(?<![.!?…])[.!?…؟۔।]{{1,9}}[{_CLOSING}]{{0,9}}(?=\s)|[。！？]{{1,9}}[{_CLOSING}]{{0,9}}|[။។།]\s?"
)
_NO_END = re.compile(
    r"(?:(?<!\w)[^\W\d_]|(?<!\w)(?:Dr|Mr|Mrs|Ms|Prof|St|No|Nr|vs|ca|approx|est|Mio|Mrd|bzw|etc|Jr|Sr"
    r"|Inc|Ltd|Co|Fig|Abb|Sra|Dra|ul|им|руб|тыс|млн|млрд|гг?|стр|др))\.\Z",
    re.IGNORECASE,
)
"""What ends in a point and ends no sentence: "Dr.", the letters of "U.S."."""
_GERMAN_ORDINAL = re.compile(r"(?<!\d)\d{1,2}\.\Z")
_LOOK_BACK = 12

_NAMES = (
    "sources?|documents?|passages?|contexts?|references?|ref|see|cf|quellen?|dokumente?|siehe"
    "|source|voir|fuentes?|fonte|источник|документ|см|المصدر|स्रोत|出典|来源|來源|文档|출처"
)
_FILE = r"\w\.(?:pdf|docx?|odt|rtf|txt|md|html?|json|csv|xlsx?)(?!\w)"
_CITED = re.compile(
    r"\[\^?\d{1,3}(?:\s?[,;–-]\s?\^?\d{1,3}){0,9}\]"
    r"|[【〔][^】〕\n]{0,99}[】〕]"
    rf"|[(\[（](?:{_NAMES})\.?(?!\w)[^()\[\]（）\n]{{0,199}}[)\]）]"
    rf"|[(\[][^()\[\]\n]{{0,99}}{_FILE}[^()\[\]\n]{{0,99}}[)\]]"
    r"|(?<=\])\([^()\s]{1,999}\)"
    r"|https?://[^\s)>\]]{1,999}"
    rf"|(?<!\w)(?:{_NAMES})\s(?:no\.?\s|#|№\s?)?\[?\d{{1,3}}(?![\w.,]*\d)\]?"
    r"|[⁰¹²³⁴-⁹]{1,3}(?=\s|\Z)",
    re.IGNORECASE,
)
"""Citations and markers as models write them."""

_JSON = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s\[\]{},:"]+|[\[\]{},:]')
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u\w{4}|\\.")


class Piece(NamedTuple):
    """A stretch of a reply: `start` to `end` in it, and its text as it is compared.

    `text` is as long as the stretch, or `places` says where each of its characters begins in the
    reply, with the end behind them (a string of JSON with escapes).
    """

    start: int
    end: int
    text: str
    places: tuple[int, ...] = ()

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of `text` stands in the reply."""
        if self.places:
            return self.places[start], self.places[end]
        return self.start + start, self.start + end


def pieces(reply: str) -> list[Piece]:
    """The pieces of a reply, in order; what has no letter and no digit is none."""
    fenced = _FENCED.match(reply)
    found = _leaves(fenced["inside"], fenced.start("inside")) if fenced else _leaves(reply, 0)
    kept = list(_lines(reply)) if found is None else found
    return [piece for piece in kept if any(map(str.isalnum, piece.text))]


def without_citations(text: str) -> str:
    """`text` with a space for each character of what a model wrote as a citation in it."""
    return _CITED.sub(lambda found: " " * len(found[0]), text)


def _leaves(text: str, offset: int) -> list[Piece] | None:
    """The leaves of a JSON object or list, or None where `text` is neither."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    found = []
    last: re.Match[str] | None = None  # a literal, until a colon behind it makes it a key
    for match in _JSON.finditer(text):
        if match[0] in "[]{},:":
            if last and match[0] != ":":
                found.append(_leaf(last, offset))
            last = None
        else:
            last = match
    return found


def _leaf(match: re.Match[str], offset: int) -> Piece:
    start, end = match.span()
    if match[0][0] != '"':
        return Piece(start + offset, end + offset, match[0])
    inside = match[0][1:-1]
    start, end = start + 1 + offset, end - 1 + offset
    if "\\" not in inside:
        return Piece(start, end, without_citations(inside))
    text: list[str] = []
    places: list[int] = []
    at = 0
    for escape in _ESCAPE.finditer(inside):
        text.append(inside[at : escape.start()])
        places += range(start + at, start + escape.start())
        text.append(json.loads(f'"{escape[0]}"'))
        places += [start + escape.start()] * len(text[-1])
        at = escape.end()
    text.append(inside[at:])
    places += range(start + at, end + 1)
    return Piece(start, end, without_citations("".join(text)), tuple(places))


def _lines(reply: str) -> Iterator[Piece]:
    in_code = False
    held: Piece | None = None  # a row, until the rule under it makes it the head of a table
    at = 0
    for line in reply.splitlines(keepends=True):
        start, at = at, at + len(line)
        text = line.rstrip()
        if _FENCE.match(text):
            in_code = not in_code
            continue
        if held and not (_ROW.match(text) and _RULE.match(text)):
            yield held
        held = None
        if in_code:
            yield _piece(reply, start, start + len(text), is_code=True)
        elif _ROW.match(text):
            held = None if _RULE.match(text) else _piece(reply, start, start + len(text))
        elif not (_HEADING.match(text) or _RULE.match(text)):
            item = _ITEM.match(text)
            yield from _sentences(reply, start + (item.end() if item else 0), start + len(text))
    if held:
        yield held


def _sentences(reply: str, start: int, end: int) -> Iterator[Piece]:
    first = start
    for match in _END.finditer(reply, start, end):
        if _goes_on(reply, first, match, end):
            continue
        yield _piece(reply, first, match.end())
        first = match.end()
    yield _piece(reply, first, end)


def _goes_on(reply: str, first: int, match: re.Match[str], end: int) -> bool:
    """Whether a point or its like ends no sentence here."""
    following = reply[match.end() : min(end, match.end() + _LOOK_BACK)].lstrip()[:1]
    if match[0][0] == ".":
        before = reply[max(first, match.start() - _LOOK_BACK) : match.start() + 1]
        if _NO_END.search(before) or _GERMAN_ORDINAL.search(before):
            return True
    return following.islower()


def _piece(reply: str, start: int, end: int, *, is_code: bool = False) -> Piece:
    text = reply[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    return Piece(start, start + len(text), text if is_code else without_citations(text))
