"""HTML's tags and entities taken out of a short text, such as a field of JSON."""

from __future__ import annotations

import html
import re

_BLOCK_TAG = re.compile(
    r"</?(?:p|br|div|ul|ol|li|tr|h[1-6]|table|blockquote)\b[^<>]{0,500}>", re.IGNORECASE
)
_INLINE_TAG = re.compile(
    r"</?(?:a|b|i|u|em|strong|small|span|sub|sup|font|code|td|th|img|mark|q)\b[^<>]{0,500}>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31}\d{0,2});")


def without_markup(text: str) -> str:
    """`text` without HTML's common tags and with its entities as the characters they mean.

    A tag of a paragraph or line break becomes a line feed. What looks like a tag of something else
    stays.
    """
    if "<" in text:
        text = _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", text))
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text.strip()
