"""The words of a text, as they are compared: without case, width, accents and punctuation.

What a word is depends on the script. Latin, Greek, Cyrillic, Arabic, Devanagari and others put
something between words. Chinese, hiragana, Thai, Lao, Khmer, Burmese and Tibetan do not, so each
character with its marks counts as a word. Katakana stands in runs that are words. A Korean word may
go on with a particle: 서울 stands in 서울입니다 (and so does 인도 in 인도네시아).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

UNSPACED = (
    "\u0e00-\u0fff"  # Thai, Lao, Tibetan
    "\u1000-\u109f\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3041-\u309f"  # iteration mark, zero; hiragana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
HANGUL = "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"

_ACCENTED = ("LATIN", "GREEK")
"""Scripts in which people leave accents out; elsewhere a mark makes another letter (バ, パ)."""
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670]")
"""The vowel points of Hebrew and Arabic, which most writing leaves out."""
_SEPARATORS = str.maketrans({"\u066b": ".", "\u066c": ","})  # of Arabic numbers
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ё": "е"})

# 1,234,567 and 1.234.567 are numbers in groups; 1,23 and 1.234 may not be.
_COMMAS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_GROUPING_POINTS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?!\d|\.\d)")
_LEADING_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
MAY_PRECEDE_A_SIGN = rf"\s(\[{{<>=≈~:;,/*×+$€£¥\"'“‘«„、。「{UNSPACED}"
"""Of a set in a pattern: what stands before a dash that is a minus sign."""
_MINUS = re.compile(rf"(?<![^{MAY_PRECEDE_A_SIGN}])[-\u2212\u2013]([$€£¥]?)(?=\.?\d)")
"""A dash right before a number, but not after a word or number: not 10-3, 2010-2012, Covid-19."""
_SIGN = "\ue000"  # a minus sign, while other dashes are still there

_MARKS = r"[^\w\s.-]*"  # nothing else is left by then
_WORD = re.compile(
    r"-?\d+(?:\.\d+)+"
    rf"|[{UNSPACED}]ー?{_MARKS}"
    rf"|(?:[{KATAKANA}]{_MARKS})+"
    rf"|(?:[{HANGUL}]{_MARKS})+"
    rf"|-(?=\d)(?:(?![{UNSPACED}{KATAKANA}{HANGUL}])\w{_MARKS})+"
    rf"|(?:(?![{UNSPACED}{KATAKANA}{HANGUL}])\w{_MARKS})+"
)
_ENDS_IN_HANGUL = re.compile(rf"[{HANGUL}]\Z")


def words(text: str) -> list[str]:
    """The words of `text` without case, punctuation, separators within numbers, and accents.

    Accents are left out where people leave them out: é is e, ώ is ω, ё is е, and pointed Hebrew and
    Arabic is the same as unpointed. Other marks are part of their letter. Digits of all scripts are
    the same. A decimal point stays, so that 5 million does not stand in "3.5 million", and so does
    a minus sign: -3 is not 3.
    """
    text = _folded(text).translate(_SEPARATORS)
    text = _COMMAS.sub(lambda found: found[0].replace(",", ""), text)
    text = _GROUPING_POINTS.sub(lambda found: found[0].replace(".", ""), text)
    text = _MINUS.sub(rf"\1{_SIGN}", text)
    text = _LEADING_POINT.sub("0.", text)
    kept = (c if c.isalnum() or c in (".", _SIGN) or _is_mark(c) else " " for c in text)
    return _WORD.findall("".join(kept).replace(_SIGN, "-"))


def stands_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the words of `part` stand in those of `whole`, one after another."""
    n = len(part)
    return any(all(map(_is_word, whole[at : at + n], part)) for at in range(len(whole) - n + 1))


def _is_word(said: str, wanted: str) -> bool:
    return said == wanted or bool(_ENDS_IN_HANGUL.search(wanted) and said.startswith(wanted))


def _folded(text: str) -> str:
    """`text` without case and accents, and without what cannot be seen."""
    kept: list[str] = []
    has_marks = False  # the letter before keeps its marks
    for c in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()):
        if _is_mark(c):
            if has_marks and not _POINTS.match(c):
                kept.append(c)
        elif c.isdecimal():
            kept.append(str(unicodedata.decimal(c)))
            has_marks = False
        elif unicodedata.category(c) != "Cf":  # soft hyphens, joiners, marks of direction
            kept.append(c)
            has_marks = c.isalpha() and not unicodedata.name(c, "").startswith(_ACCENTED)
    composed = unicodedata.normalize("NFC", "".join(kept)).translate(_LETTERS)
    return unicodedata.normalize("NFC", composed)


def _is_mark(c: str) -> bool:
    return unicodedata.category(c).startswith("M")
