"""Text of documents made safe to show: without control characters and invisible ones."""

from __future__ import annotations

import re

_BREAKS = "\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_CONTROLS = "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"
_INVISIBLE = (
    "\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Soft hyphens, marks of direction and their overrides, what has no width, and tag characters.

Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji are written with them.
"""

_SURROGATES = "\ud800-\udfff"

_UNWANTED = re.compile(f"[\r{_BREAKS}{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_ESCAPE_SEQUENCE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # colours, moves
    "|\x1b[\\]PX^_][^\x1b\x07\n]*(?:\x07|\x1b\\\\)"  # titles, links
    "|\x1b[ -/]*[0-~]"
)
_LINE_BREAK = re.compile(f"\r\n?|[{_BREAKS}]")
_DROPPED = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")
_SURROGATE = re.compile(f"[{_SURROGATES}]")


def clean(text: str) -> str:
    """`text` as a terminal may show it and SQLite may keep it.

    Escape sequences of terminals, control characters except line feed and tab, and characters that
    are invisible by design are left out. Every kind of line break becomes a line feed, and half a
    surrogate pair U+FFFD.
    """
    if not _UNWANTED.search(text):
        return text
    if "\x1b" in text:
        text = _ESCAPE_SEQUENCE.sub("", text)
    text = _DROPPED.sub("", _LINE_BREAK.sub("\n", text))
    return _SURROGATE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` cleaned, with single spaces for all white space, as a heading or a field is shown."""
    return " ".join(clean(text).split())
