"""What a session may be called, and how it is known where nobody has named it."""

from __future__ import annotations

import secrets
import unicodedata

from edgeproxy.documents.cleaning import clean, one_line
from edgeproxy.errors import UsageError
from edgeproxy.history.records import NO_TITLE

MAX_NAME = 80
"""Characters of a name."""

_MAX_TITLE = 60
_BEGINNING = 1000
"""A title is made of so many characters of a message at most."""

_LETTERS = "bcdfghjkmnpqrstvwxz23456789"
"""Of ids: none looks like another, and without vowels no word comes of them."""
_LENGTH = 5


def new_id() -> str:
    """An id that is easy to type, and is hardly anybody's yet."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def check_name(name: str) -> str:
    """`name` as it is kept: composed, without white space around it.

    Raises `UsageError` for what would be no name for a person: nothing, more than `MAX_NAME`
    characters, several lines, characters that cannot be seen.
    """
    kept = unicodedata.normalize("NFC", name.strip())
    if not kept:
        raise UsageError("a session's name is empty; give it one")
    if len(kept) > MAX_NAME:
        raise UsageError(f"a session's name has {MAX_NAME} characters at most, not {len(kept):,}")
    if clean(kept) != kept or "\n" in kept or "\t" in kept:
        raise UsageError(
            f"{name!r} cannot be a session's name: it is one line, without characters that cannot "
            "be seen"
        )
    return kept


def title_of(text: str) -> str:
    """The beginning of a message as a heading, in a line."""
    line = one_line(text[:_BEGINNING])
    if len(line) <= _MAX_TITLE:
        return line or NO_TITLE
    cut = line[:_MAX_TITLE]
    return f"{cut.rpartition(' ')[0] or cut} ..."
