"""Markdown as it comes -> styled spans, in order; what was given out is never taken back.

So nothing flickers, what has scrolled up is final, and what is copied is the text. It costs little:
a span such as **bold** is held back until its end is known, a few tokens; a line of which nothing
is open goes out at once. Tables and formulas stay as they are written, and so do the fences and the
code between them.

What a style is called: `heading`, `strong`, `emphasis`, `struck`, `code`, `link`, `quote`,
`marker`, `fence`, `row` of a table, and `block` for lines of code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Some text in one style; `language` is that of a line of code."""

    text: str
    styles: tuple[str, ...] = ()
    language: str = ""


_MOST_HELD = 500
"""So many characters of a span are held back at most; then it is taken as it is written."""

_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+")
_BULLET = re.compile(r"([ \t]*)([-*+])([ \t]+)(?=\S)")
_NUMBER = re.compile(r"([ \t]*)(\d{1,9}[.)])([ \t]+)(?=\S)")
_QUOTE = re.compile(r" {0,3}>[ \t]?")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")

_UNDECIDED = re.compile(
    r"[ \t]*(?:>[ \t]*)*(?:[-+*_][-*_ \t]*|#{1,6}[ \t]*|\d{1,9}[.)]?[ \t]*|`+|~+)?$"
)
"""The beginning of a line that may yet become one of these."""

_SPECIAL = re.compile(r"[\\`*_~\[]")
_LINK = re.compile(r"\[([^\[\]\n]+)\]\(([^()\s]+)\)")
_LINK_SO_FAR = re.compile(r"\[[^\[\]\n]*(\](\([^()\s]*)?)?$")
_MARKS = {"**": "strong", "__": "strong", "~~": "struck", "*": "emphasis", "_": "emphasis"}
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Markup:
    """One reply's markdown: `feed` gives what is certain by now, `end` all the rest."""

    def __init__(self) -> None:
        self._line = ""
        """What has come of the line under way and was not given out."""
        self._at_start = True
        self._styles: tuple[str, ...] = ()
        self._is_raw = False
        self._fence = ""
        self._language = ""
        self._before = " "

    def feed(self, text: str) -> Iterator[Span]:
        """What is certain now that `text` has come too."""
        self._line += text
        while True:
            line, newline, rest = self._line.partition("\n")
            if not newline:
                break
            yield from self._whole(line)
            yield Span("\n")
            self._line, self._at_start, self._styles, self._is_raw = rest, True, (), False
            self._before = " "
        if self._line:
            yield from self._part()

    def end(self) -> Iterator[Span]:
        """What was held back, as the reply has ended."""
        line, self._line = self._line, ""
        if line:
            yield from self._whole(line)

    def _whole(self, line: str) -> Iterator[Span]:
        """What is left of a line that has ended."""
        if self._at_start:
            found = _FENCE.match(line)
            if found and self._turn_fence(found):
                yield Span(line, ("fence",))
                return
            if not self._fence and _RULE.match(line):
                yield Span(line, ("marker",))
                return
        if self._fence:
            yield Span(line, ("block",), self._language)
            return
        yield from self._begin_line(line)
        yield from self._inline(whole=True)

    def _turn_fence(self, found: re.Match[str]) -> bool:
        """Whether a line that looks like a fence is one, here; code begins or ends there."""
        _, marks, rest = found.groups()
        if not self._fence:
            self._fence, self._language = marks, rest.split()[0] if rest.split() else ""
            return True
        if marks.startswith(self._fence) and not rest.strip():
            self._fence = self._language = ""
            return True
        return False

    def _part(self) -> Iterator[Span]:
        """What is certain of a line that goes on."""
        if self._fence:
            # Three marks may close it; anything else is code, and goes out as it comes.
            if self._at_start and _may_close(self._line, self._fence):
                return
            text, self._line, self._at_start = self._line, "", False
            yield Span(text, ("block",), self._language)
            return
        if self._at_start and _is_undecided(self._line):
            return
        yield from self._begin_line(self._line)
        yield from self._inline(whole=False)

    def _begin_line(self, line: str) -> Iterator[Span]:
        """What a line begins with, once; the rest of it stays in `_line`."""
        self._line = line
        if not self._at_start:
            return
        self._at_start = False
        if found := _HEADING.match(line):
            self._styles = ("heading",)
            self._line = line[found.end() :]
            return
        while found := _QUOTE.match(self._line):
            yield Span("> ", ("marker",))
            self._styles = ("quote",)
            self._line = self._line[found.end() :]
        if found := _BULLET.match(self._line) or _NUMBER.match(self._line):
            indent, mark, gap = found.groups()
            yield Span(indent)
            yield Span(mark if mark[0].isdigit() else "-", ("marker",))
            yield Span(gap)
            self._line = self._line[found.end() :]
        self._is_raw = self._line.lstrip().startswith("|")

    def _inline(self, whole: bool) -> Iterator[Span]:
        text, self._line = self._line, ""
        if self._is_raw:
            yield from _spans(text, ("row",))
            return
        spans, rest = inline(text, self._before, whole or len(text) > _MOST_HELD)
        self._line = rest
        for span in spans:
            self._before = span.text[-1:] or self._before
            yield Span(span.text, self._styles + span.styles)


def inline(text: str, before: str = " ", whole: bool = True) -> tuple[list[Span], str]:
    """The spans of a part of a line, and what cannot be told yet of one that is not `whole`.

    `before` is the character that stands in front of it.
    """
    spans: list[Span] = []
    plain = ""

    def settle() -> None:
        nonlocal plain, before
        spans.extend(_spans(plain))
        before, plain = plain[-1:] or before, ""

    place = 0
    while place < len(text):
        found = _SPECIAL.search(text, place)
        if found is None:
            plain += text[place:]
            break
        plain += text[place : found.start()]
        place = found.start()
        styled = _styled(text, place, plain[-1:] or before, whole)
        if styled is None:  # it may yet become something
            settle()
            return spans, text[place:]
        inner, end = styled
        if inner is None:
            plain += text[place:end]
        elif len(inner) == 1 and not inner[0].styles:
            plain += inner[0].text
        else:
            settle()
            spans.extend(inner)
        before = text[end - 1] if end > place else before
        place = end
    settle()
    return spans, ""


def _styled(
    text: str, place: int, before: str, whole: bool
) -> tuple[list[Span] | None, int] | None:
    """What a special character begins, and where that ends; None where it is not known yet.

    Without spans it is itself, up to that end.
    """
    match text[place]:
        case "\\":
            if place + 1 == len(text) and not whole:
                return None
            follows = text[place + 1 : place + 2]
            is_escape = follows in _PUNCTUATION and follows != ""
            return ([Span(follows)], place + 2) if is_escape else (None, place + 1)
        case "`":
            return _code(text, place, whole)
        case "[":
            if found := _LINK.match(text, place):
                words, address = found.groups()
                shown = [Span(words, ("link",))]
                if words != address:
                    shown.append(Span(f" ({address})"))
                return shown, found.end()
            may_come = not whole and _LINK_SO_FAR.match(text, place)
            return None if may_come else (None, place + 1)
    return _emphasis(text, place, before, whole)


def _code(text: str, place: int, whole: bool) -> tuple[list[Span] | None, int] | None:
    run = _run(text, place)
    if place + run == len(text) and not whole:
        return None
    end = place + run
    while (end := text.find("`" * run, end)) >= 0:
        length = _run(text, end)
        if end + length == len(text) and not whole:
            return None
        if length == run:
            inner = text[place + run : end]
            if inner[:1] == inner[-1:] == " " and inner.strip():
                inner = inner[1:-1]
            return [Span(inner, ("code",))], end + run
        end += length
    return (None, place + run) if whole else None


def _emphasis(
    text: str, place: int, before: str, whole: bool
) -> tuple[list[Span] | None, int] | None:
    sign = text[place]
    run = _run(text, place)
    if place + run == len(text) and not whole:
        return None
    after = text[place + run : place + run + 1]
    opens = after.strip() != "" and not (before.isalnum() and (sign == "_" or run == 1))
    if run > 3 or not opens or (sign == "~" and run != 2):
        return None, place + run
    mark = sign * min(run, 2)
    start, end = place + len(mark), place + run
    while (end := text.find(mark, end)) >= 0:
        length = _run(text, end)
        at_end = end + length == len(text)
        if at_end and not whole:
            return None
        follows = text[end + length : end + length + 1]
        closes = not text[end - 1].isspace() and (sign != "_" or not follows.isalnum())
        fits = length == run or (length > len(mark) and run == len(mark) and len(mark) == 2)
        if closes and fits and text[end - 1] != "\\":
            # Of ***both*** the outer marks are taken here, the inner ones by the inner text.
            close = end + length - len(mark)
            inner, _ = inline(text[start:close])
            style = _MARKS[mark]
            return [Span(span.text, (style, *span.styles)) for span in inner], close + len(mark)
        end += length
    return (None, place + run) if whole else None


def _run(text: str, place: int) -> int:
    """How often the character at `place` stands there, one behind another."""
    return len(text) - place - len(text[place:].lstrip(text[place]))


def _spans(text: str, styles: tuple[str, ...] = ()) -> list[Span]:
    return [Span(text, styles)] if text else []


def _may_close(line: str, fence: str) -> bool:
    """Whether a line that goes on may be the one that closes `fence`."""
    body = line.lstrip(" ")
    rest = body.lstrip(fence[0])
    if len(line) - len(body) > 3:
        return False
    return not rest.strip() if len(body) - len(rest) >= len(fence) else not rest


def _is_undecided(line: str) -> bool:
    body = line.lstrip(" ")
    if body[:3] in ("```", "~~~"):
        return True  # the language of a fence may be coming
    return _UNDECIDED.match(line) is not None
