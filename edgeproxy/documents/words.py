"""Text as an index keeps its words: apart where a script does not part them.

Chinese, Japanese, Thai, Lao, Khmer and Burmese have no spaces between words. Their characters are
kept apart, each with the signs that belong to it, and what is looked for is a phrase of them.
"""

from __future__ import annotations

import re

_UNSPACED = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"  # kana
)
_UNSPACED_WITH_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_SIGNS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3"
)

_RUN = re.compile(f"[{_UNSPACED}{_UNSPACED_WITH_SIGNS}]+")
_WITH_SIGNS = re.compile(f"[{_UNSPACED_WITH_SIGNS}]")
_APART = re.compile(f"[{_UNSPACED}]|[{_UNSPACED_WITH_SIGNS}][{_SIGNS}]*")


def spaced(text: str) -> str:
    """`text` with a space behind each character of a script that does not part its words."""
    return text if text.isascii() else _APART.sub(r" \g<0> ", text)


def unspaced_runs(text: str) -> list[str]:
    """The stretches of `text` in scripts that do not part their words."""
    return [] if text.isascii() else _RUN.findall(text)


def is_unspaced(term: str) -> bool:
    """Whether a term of the index is a character of such a script."""
    return not term.isascii() and _RUN.match(term) is not None


def has_signs(term: str) -> bool:
    """Whether it is of one of those with signs, such as Thai, whose characters say less."""
    return _WITH_SIGNS.match(term) is not None
