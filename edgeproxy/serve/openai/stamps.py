"""Ids and times that replies carry."""

from __future__ import annotations

import secrets
import time

_ID_BYTES = 12


def new_id(prefix: str) -> str:
    """An id that no other reply has, such as "chatcmpl-0c9a...": `prefix` and random digits."""
    return prefix + secrets.token_hex(_ID_BYTES)


def now() -> int:
    """The time, in whole seconds since 1970."""
    return int(time.time())


def ticks() -> float:
    """Seconds since a moment of no meaning, for how long something takes."""
    return time.perf_counter()
