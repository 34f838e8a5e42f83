"""A line that a host sends -> what is to be done, under which id; or what is wrong with it."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Container, Iterable, Mapping
from typing import Any

from edgeproxy.core.utf8 import check_text
from edgeproxy.errors import PromptError
from edgeproxy.remote.answers import NonsenseError, parse_json
from edgeproxy.serve.protocol import RefusedError

CLOSE, CANCEL, COUNT = "close", "cancel", "count"

LONGEST_ID = 200
"""Characters of an id."""

TOO_LONG, DOUBLED = 413, 409
"""The statuses of a line that is too long, and of an id that is another request's."""

_SHOWN = 40
"""Characters that are shown of what a line should not have."""


def order_of(line: bytes | None, longest: int) -> dict[str, Any]:
    """The object in a line; None is one of more than `longest` bytes. Raises `RefusedError`."""
    if line is None:
        raise RefusedError(
            f"the line has more than {longest:,} bytes", None, "line_too_long", TOO_LONG
        )
    try:
        order = parse_json(line.removeprefix(BOM_UTF8))
    except NonsenseError as error:
        raise RefusedError(f"the line is no request: {error}", None, "no_json") from None
    if not isinstance(order, dict):
        raise RefusedError("the line is no request: it holds JSON, but no object", None, "no_json")
    return order


def id_of(order: Mapping[str, Any], under_way: Container[str]) -> str | None:
    """The id that events of an order are sent under; None for one that has no events.

    Raises `RefusedError` for one that is no id, or is that of a request that is `under_way`.
    """
    if order.get("do") == CLOSE and "id" not in order:
        return None
    name = order.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
        raise RefusedError(f"id must be a text of 1 to {LONGEST_ID} characters", "id", "wrong_id")
    try:
        check_text(name, "id")
    except PromptError as error:
        raise RefusedError(str(error), "id", "wrong_id") from None
    if order.get("do") == CANCEL:
        return None
    if name in under_way:
        what = "id is that of a request that is under way; give each an id of its own"
        raise RefusedError(what, "id", "doubled_id", DOUBLED)
    return name


def do_of(order: Mapping[str, Any], with_body: Iterable[str], without: Iterable[str]) -> str:
    """What is to be done: one of these with or without a body, to cancel, or to close.

    Raises `RefusedError` for anything else, and for fields that do not belong to it.
    """
    do, with_body = order.get("do"), tuple(with_body)
    every = (*with_body, *without, CANCEL, CLOSE)
    if not isinstance(do, str) or do not in every:
        raise RefusedError(f"do must be one of {', '.join(every)}", "do", "unknown_do")
    allowed = {"id", "do", "body"} if do in with_body else {"id", "do"}
    if unknown := sorted(order.keys() - allowed):
        shown = unknown[0].encode("ascii", "backslashreplace").decode("ascii")[:_SHOWN]
        raise RefusedError(
            f"{shown} does not belong to a line with do {do!r}; {', '.join(sorted(allowed))} do",
            shown,
            "unknown_field",
        )
    return do


def body_of(order: Mapping[str, Any]) -> dict[str, Any]:
    """The body. Raises `RefusedError`."""
    body = order.get("body")
    if not isinstance(body, dict):
        raise RefusedError("body must be an object", "body", "wrong_body")
    return body
