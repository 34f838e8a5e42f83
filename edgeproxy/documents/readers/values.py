"""Values of JSON as blocks: each field with the names that lead to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from json import JSONDecodeError
from typing import Any

from edgeproxy.documents.cleaning import one_line
from edgeproxy.documents.markup import without_markup
from edgeproxy.documents.passage import Block
from edgeproxy.documents.readers.titles import Record, title_of, unwrapped
from edgeproxy.documents.trails import MAX_HEADING

MAX_DEPTH = 200
MAX_VALUES = 4_000_000
"""Commas and opening brackets in what is parsed at once: each may cost 100 bytes of memory."""

SHORT = 200
"""How many characters a field has at most that shares a block with its neighbours."""

MAX_JOINED = 500
"""How many characters such fields have together, about."""

TOO_DEEP = f"its values are nested more than {MAX_DEPTH} deep"
PATH = " > "


class NotJson(ValueError):
    """A text is not JSON, or more than is read at once; `str()` says why."""


class MoreFollows(NotJson):
    """A value of JSON ends, and something comes behind it."""


def parse(text: str, check: Callable[[], None]) -> Any:
    """The value that `text` is: objects as `Record`s, numbers as they are written.

    `check` is called at each object, and may raise to stop. Raises `NotJson`.
    """
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise NotJson(f"it has more than {MAX_VALUES:,} values")

    def record(pairs: list[tuple[str, Any]]) -> Record:
        check()
        return Record(pairs)

    try:
        return json.loads(
            text, object_pairs_hook=record, parse_int=str, parse_float=str, parse_constant=str
        )
    except JSONDecodeError as error:
        where = f"{error.msg} in line {error.lineno}, column {error.colno}"
        kind = MoreFollows if error.msg == "Extra data" else NotJson
        raise kind(where) from None
    except RecursionError:
        raise NotJson(TOO_DEEP) from None


def value_blocks(value: Any, place: str | None = None) -> Iterator[Block]:
    """The blocks of a parsed value; `place` is of all of them, or None for each one's path.

    An object's own title, where it has one, begins their trails. Raises `NotJson` where values are
    nested too deep.
    """
    title = title_of(value) if isinstance(value, Record) else None
    inner = unwrapped(value)
    for names, text in _walk(inner, (), 0, title is not None):
        trail = (title, *names) if title and names[:1] != (title,) else names
        yield Block(text, trail, place if place is not None else PATH.join(names))


Field = tuple[tuple[str, ...], str]


def _walk(value: Any, names: tuple[str, ...], depth: int, is_titled: bool) -> Iterator[Field]:
    if depth > MAX_DEPTH:
        raise NotJson(TOO_DEEP)
    if isinstance(value, Record):
        yield from _walk_record(value, names, depth, is_titled)
    elif isinstance(value, list):
        yield from _walk_list(value, names, depth, is_titled)
    elif text := _text(value):
        yield names, text


def _walk_record(
    record: Record, names: tuple[str, ...], depth: int, is_titled: bool
) -> Iterator[Field]:
    """A record's fields; short ones in a row together.

    A field in an object of its own, {"text": ...}, is joined with others only where the record
    holds nothing but fields: else that is a chapter, whose fields stand each by itself. So do all
    fields within chapters of what has a title, for their trails say all that they are of: "Chad -
    Economy - Exchange rates - Currency".
    """
    is_within_chapters = is_titled and depth > 1
    fields = [(one_line(key)[:MAX_HEADING], value, unwrapped(value)) for key, value in record]
    is_chapter = any(_leaf(inner) is None for _, _, inner in fields)
    together: list[str] = []
    for key, value, inner in fields:
        leaf = _leaf(inner)
        if leaf == "":
            continue
        is_long = leaf is None or len(leaf) > SHORT
        apart = is_long or is_within_chapters or (is_chapter and inner is not value)
        full = sum(map(len, together)) + len(leaf or "") > MAX_JOINED
        if together and (apart or full):
            yield names, "; ".join(together)
            together = []
        if apart:
            below = names if key.casefold() in WRAPPERS else (*names, key)
            yield from _walk(inner, below, depth + 1, is_titled)
        else:
            together.append(_named(key, leaf or ""))
    if together:
        yield names, "; ".join(together)


def _named(key: str, text: str) -> str:
    """A field with its name in front, said once: ("note", "note: in 2021") is "note: in 2021"."""
    if not key or key.casefold() in WRAPPERS:
        return text
    first, colon, rest = text.partition(":")
    return f"{key}: {rest.strip() if colon and key.endswith(first) else text}"


def _walk_list(
    items: list[Any], names: tuple[str, ...], depth: int, is_titled: bool
) -> Iterator[Field]:
    """A list's items; an object by its title, or by its number where there are several.

    Such an object is a row: its short fields stay together.
    """
    leaf = _leaf(items)
    if leaf is not None:
        if leaf:
            yield names, leaf
        return
    for number, item in enumerate(items, 1):
        inner = unwrapped(item)
        if isinstance(inner, list) or isinstance(item, Record):
            title = title_of(item) if isinstance(item, Record) else None
            name = title or (str(number) if len(items) > 1 else "")
            below = (*names, name) if name else names
            yield from _walk(inner, below, depth + 1, is_titled=False)
        else:
            yield from _walk(inner, names, depth + 1, is_titled)


def _leaf(value: Any) -> str | None:
    """The text of a field, or of a list of short ones; None for what has fields of its own."""
    if isinstance(value, Record):
        return None if value else ""
    if not isinstance(value, list):
        return _text(value)
    if any(isinstance(item, list) for item in value):
        return None
    return _joined(map(_text, value))


def _joined(texts: Iterable[str]) -> str | None:
    found: list[str] = []
    length = 0
    for text in filter(None, texts):
        length += len(text)
        if found and length > MAX_JOINED:
            return None
        found.append(text)
    return ", ".join(found)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return without_markup(str(value))


WRAPPERS = frozenset({"text", "value", "#text"})
"""Keys that say nothing: what they lead to goes by the name of the object that has them."""
