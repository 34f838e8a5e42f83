"""Messages of several lines, between three quotes."""

from __future__ import annotations

PROMPT = "> "
QUOTES = '"""'
"""Where a message begins with these, it goes on over lines until they come again."""


def is_open(text: str) -> bool:
    """Whether a message goes on with the next line: its quotes have not come again."""
    begun = text.lstrip()
    return begun.startswith(QUOTES) and QUOTES not in begun[len(QUOTES) :]


def without_quotes(text: str) -> str:
    """A message without the quotes around it."""
    begun = text.strip()
    if not begun.startswith(QUOTES) or is_open(text):
        return text
    inner = begun[len(QUOTES) :]
    inside, _, after = inner.rpartition(QUOTES)
    return inside.strip("\n") + after
