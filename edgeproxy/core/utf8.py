"""Text from outside, as bytes or as the system's arguments: UTF-8, or a clear error."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE

from edgeproxy.errors import PromptError

_UTF16 = "it looks like UTF-16; convert it to UTF-8 first"


def decode(data: bytes, name: str) -> str:
    """`data` as text, without UTF-8's mark; `name` is what errors call it.

    Raises `PromptError` naming the byte that is not UTF-8, and as `check_text` does.
    """
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise PromptError(f"{name} is not UTF-8: {_UTF16}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{name} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}; "
            "convert it first"
        ) from None
    return check_text(text, name)


def check_text(text: str, name: str) -> str:
    """`text` itself; `name` is what errors call it.

    Raises `PromptError` for what the system could not read as UTF-8, for half of a surrogate pair,
    and for a NUL, which no text has and UTF-16 without a mark is full of.
    """
    check_unicode(text, name)
    if "\0" in text:
        at = text.index("\0")
        raise PromptError(f"{name} has a NUL at character {at:,}, which is not text: {_UTF16}")
    return text


def check_unicode(text: str, name: str) -> bytes:
    """`text` in UTF-8. Raises `PromptError` where it is not Unicode."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        at, code = error.start, ord(text[error.start])
    # Python keeps a byte that it cannot read, such as of an argument, as a code in this range.
    if 0xDC80 <= code <= 0xDCFF:
        raise PromptError(
            f"{name} is not UTF-8 text: byte 0x{code - 0xDC00:02x} at character {at:,}; "
            "convert it first"
        )
    raise PromptError(
        f"{name} holds {text[at]!r} at character {at:,}, half of a surrogate pair and not a "
        "character; send valid Unicode"
    )
