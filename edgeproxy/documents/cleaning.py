"""Text of documents made safe to show: without control characters and invisible ones."""

from __future__ import annotations

import re

_BREAKS = "\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_CONTROLS = "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"
_INVISIBLE = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Soft hyphens, marks of direction and their overrides, what has no width, fillers, and tags.

Joiners (U+200C, U+200D) stay, and so do selectors of a variant: Persian, Hindi and emoji are
written with them. Of a row, which could spell what nobody sees, what a character can have stays.
"""
_SELECTORS, _JOINERS = "\ufe00-\ufe0f", "\u200c\u200d"

_SURROGATES = "\ud800-\udfff"

_UNWANTED = re.compile(f"[\r{_BREAKS}{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_PAIR = re.compile(f"[{_SELECTORS}{_JOINERS}][{_SELECTORS}{_JOINERS}]")
_ROW = re.compile(f"([{_SELECTORS}][{_JOINERS}]?|[{_JOINERS}])[{_SELECTORS}{_JOINERS}]*")
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
    are invisible by design are left out; a row of joiners and selectors becomes one of each at
    most. Every kind of line break becomes a line feed, and half a surrogate pair U+FFFD.
    """
    if not _UNWANTED.search(text) and (text.isascii() or not _PAIR.search(text)):
        return text
    if "\x1b" in text:
        text = _ESCAPE_SEQUENCE.sub("", text)
    text = _DROPPED.sub("", _LINE_BREAK.sub("\n", text))
    if _PAIR.search(text):
        text = _ROW.sub(r"\1", text)
    return _SURROGATE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` cleaned, with single spaces for all white space, as a heading or a field is shown."""
    return " ".join(clean(text).split())
