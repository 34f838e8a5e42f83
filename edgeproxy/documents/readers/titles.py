"""What a JSON object is about: the title among its fields.

A title is a short text, in this order:

1.  the object's field "title", "name", "headline" or "label", or one whose name ends with "title"
    or "name", as "product_name" does; else its field "country"
2.  such a field of an object in it that is called "metadata", "meta", "info" or "header", or that
    is all it has
3.  a form of a name: a field of an object whose own name ends with "name" or "title", no more than
    three levels down; the topmost such object, and in it a "short" or "common" form before a
    "long", "official" or "full" one, and those before "local" ones

"none", "unknown" and the like are no titles. Objects in lists are not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeproxy.documents.cleaning import one_line
from edgeproxy.documents.markup import without_markup

MAX_TITLE = 120
MAX_LEVELS = 3
_MAX_FIELDS = 10_000
"""How many fields are looked at; further ones of a huge object hardly say what it is about."""

_FIRST = ("title", "name", "headline", "label")
_ABOUT = frozenset({"metadata", "meta", "info", "header"})
_NO_TITLE = frozenset({"none", "n/a", "na", "null", "unknown", "untitled", "other", "-"})
_FORMS = (("short", "common"), ("long", "official", "full"), ("name", "title", "en", "english"))
_LOCAL = ("local", "native")
_IS_NAME = re.compile(r"(?:.* )?(?:name|title)")
_WORD_EDGE = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-.\s]+")
_BRACKETS = re.compile(r"\s*\([^()]*\)")


class Record(list[tuple[str, Any]]):
    """An object of JSON: its fields in order, keys that come twice among them."""


def unwrapped(value: Any) -> Any:
    """`value` without objects around it whose only field says nothing: {"text": ...}."""
    while isinstance(value, Record) and len(value) == 1:
        (key, inner) = value[0]
        if key.casefold() not in ("text", "value", "#text"):
            break
        value = inner
    return value


def title_of(record: Record) -> str | None:
    """What `record` is about, by the rules above, or None."""
    if title := _own_title(record):
        return title
    for key, value in record[:_MAX_FIELDS]:
        inside = isinstance(value, Record) and (_words(key) in _ABOUT or len(record) == 1)
        if inside and (title := _own_title(value)):
            return title
    for name in _name_objects(record):
        if title := _form(name):
            return title
    return None


def _own_title(record: Record) -> str | None:
    fields = [(_words(key), value) for key, value in record[:_MAX_FIELDS]]
    for wanted in (*_FIRST, None, "country"):
        for words, value in fields:
            matches = _IS_NAME.fullmatch(words) if wanted is None else words == wanted
            if matches and (title := _title(value)):
                return title
    return None


def _name_objects(record: Record) -> Iterator[Record]:
    """The objects below `record` whose names end with "name" or "title", topmost first."""
    level = [record]
    looked_at = 0
    for _ in range(MAX_LEVELS):
        below: list[Record] = []
        for outer in level:
            for key, value in outer:
                looked_at += 1
                if looked_at > _MAX_FIELDS:
                    return
                if isinstance(value, Record):
                    below.append(value)
                    if _IS_NAME.fullmatch(_words(key)):
                        yield value
        level = below


def _form(names: Record) -> str | None:
    fields = [(_words(key).split(), value) for key, value in names[:_MAX_FIELDS]]
    for local in (False, True):
        for wanted in _FORMS:
            for words, value in fields:
                is_local = any(word in _LOCAL for word in words)
                if is_local == local and any(word in wanted for word in words):
                    title = _title(value)
                    if title:
                        return title
    return None


def _title(value: Any) -> str | None:
    value = unwrapped(value)
    if not isinstance(value, str) or len(value) > 10 * MAX_TITLE:
        return None
    text = one_line(without_markup(value)).partition("; ")[0]
    if len(text) > MAX_TITLE // 2:
        text = _BRACKETS.sub("", text)
    if len(text) > MAX_TITLE or text.casefold() in _NO_TITLE:
        return None
    return text if any(char.isalpha() for char in text) else None


def _words(key: str) -> str:
    """A key's words: "countryName" and "country_name" are "country name"."""
    return " ".join(_WORD_EDGE.split(key[:MAX_TITLE])).strip().casefold()
