"""The bytes of an answer, and the JSON in them; what a server sends is trusted in nothing.

An answer is read up to a limit. Compression is not asked for and not accepted, so that small
answers cannot become large. JSON may nest as deep as Python's reader takes, and holds no NaN and no
infinity.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple, NoReturn

from edgeproxy.remote.wire import BUFFER, TooLargeError

MAX_REFUSAL = 1 << 16
"""Bytes of a refusal that are read; the rest is of no use."""

FIRST_ERROR = 300
"""Statuses from here on are no answers."""

# A number such as 1e999 is infinite, though it looks finite. In strings too, which costs time only.
_LARGE_EXPONENT = re.compile(rb"[eE]\+?\d{3}")

_LONG = 200
"""A number of fewer digits is finite, with an exponent of two digits as well."""


class TruncatedError(Exception):
    """An answer ended before it was whole."""


class NonsenseError(Exception):
    """An answer is not HTTP, or holds no JSON; the message says what it is instead."""


class Answer(NamedTuple):
    """An answer in HTTP: its status, its headers by their small-letter names, its bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_answer(response: HTTPResponse, max_bytes: int) -> Answer:
    """The whole of an answer, or the beginning of a refusal.

    Raises `TruncatedError`, `NonsenseError`, `TooLargeError`, and what its connection raises.
    """
    headers = {name.lower(): value for name, value in response.getheaders()}
    if 300 <= response.status < 400:
        return Answer(response.status, headers, b"")
    refuses = response.status >= FIRST_ERROR
    packed = headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        if refuses:
            return Answer(response.status, headers, b"")
        raise NonsenseError(f"it is compressed ({packed[:20]!r}), which nobody asked for")
    limit = MAX_REFUSAL if refuses else max_bytes
    if not refuses and response.length is not None and response.length > limit:
        raise TooLargeError
    blocks, left = [], limit
    try:
        while block := response.read(min(BUFFER, left + 1)):
            blocks.append(block)
            left -= len(block)
            if left < 0:
                if refuses:
                    break
                raise TooLargeError
    except (HTTPException, ValueError):
        # An IncompleteRead, or a chunk whose size is no number.
        raise TruncatedError from None
    if left >= 0 and response.length:
        raise TruncatedError
    return Answer(response.status, headers, b"".join(blocks))


def parse_json(body: bytes) -> Any:
    """The value in `body`. Raises `NonsenseError`."""
    if not body.strip():
        raise NonsenseError("it is empty")
    odd = bool(_LARGE_EXPONENT.search(body)) or _has_long_number(body)
    try:
        text = body.decode("utf-8")
        if odd:
            return json.loads(text, parse_constant=_refuse, parse_float=_finite)
        return json.loads(text, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise NonsenseError("it is not UTF-8") from None
    except RecursionError:
        raise NonsenseError("its JSON nests too deep") from None
    except json.JSONDecodeError as error:
        raise NonsenseError(
            f"it is no JSON, or not all of it ({error.msg}, at character {error.pos:,} of "
            f"{len(text):,})"
        ) from None
    except ValueError as error:
        raise NonsenseError(f"its JSON holds {error}") from None


def _has_long_number(body: bytes) -> bool:
    """Whether `_LONG` digits may stand in a row: half of them do, from a multiple of that on.

    A regular expression took twelve times as long, a quarter of what reading the JSON takes.
    """
    half = _LONG // 2
    return any(body[at : at + half].isdigit() for at in range(0, len(body) - half + 1, half))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number too large for any")
    return number
