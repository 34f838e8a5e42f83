"""The name that a person may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_ALIKE = 0.6
"""How alike two names must be, from 0 to 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What to add to "there is no ..." of it: the nearest known name as a question, or nothing."""
    found = get_close_matches(name, list(known), 1, _ALIKE)
    return f", did you mean {found[0]}?" if found else ""
