"""Columns of a terminal: how wide text is there, and cut and padded to a width."""

from __future__ import annotations

import unicodedata


def width_of(text: str) -> int:
    """How many columns `text` takes: wide characters two, combining ones none."""
    return sum(map(_width, text))


def fitted(text: str, width: int) -> str:
    """`text` in exactly so many columns; what is cut off ends in an ellipsis."""
    if width_of(text) > width:
        kept, room = "", width - 1
        for character in text:
            room -= _width(character)
            if room < 0:
                break
            kept += character
        text = kept + "…"
    return text + " " * (width - width_of(text))


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
