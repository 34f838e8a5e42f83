"""What can be evidence in a text, with its places: words, numbers, pairs of signs.

A script that does not part its words gives pairs of neighbouring signs (Chinese, Japanese), or
groups of three where a sign is about a letter (Thai, Lao, Khmer, Burmese, Tibetan): a single sign
stands nearly everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from edgeproxy.documents.common_words import COMMON, COMMON_SIGNS, GERMAN
from edgeproxy.text.numbers import PlacedNumber, placed_numbers
from edgeproxy.text.words import HANGUL, KATAKANA, words

_PAIRED = "\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IN_THREES = "\u0e00-\u0fff\u1000-\u109f\uaa60-\uaa7f\u1780-\u17ff"
_MARKS = r"[^\w\s]*"  # only letters, marks and spaces are left where it is used
_RUN = re.compile(
    rf"(?P<pairs>(?:[{_PAIRED}]{_MARKS})+)"
    rf"|(?P<threes>(?:[{_IN_THREES}]{_MARKS})+)"
    rf"|(?:[{KATAKANA}]{_MARKS})+"
    rf"|(?:[{HANGUL}]{_MARKS})+"
    rf"|(?:(?![{_PAIRED}{_IN_THREES}{KATAKANA}{HANGUL}])\w{_MARKS})+"
)
_SIGN = re.compile(rf"\w{_MARKS}")
_KANA = re.compile("[\u3041-\u309f]")
_STARTS = re.compile(r"[.!?:;•\n\"“«„(\[|¿¡>]")
"""What a capital may follow without being that of a name."""

_LONGEST_CACHED = 64
_GERMAN_ENOUGH = 2
"""So many common words of German make a text German."""

NUMBER, DIGIT = 1.5, 0.5
"""The weights of a number of two or more digits, and of a single digit."""
_PAIR, _PAIR_WITH_KANA, _KANA_ALONE, _THREE = 0.6, 0.3, 0.1, 0.4
_SHORT, _PER_LETTER, _LETTERS = 0.3, 0.1, 7
_SINGLE_LETTER = 0.2
_SUFFIX = 0.9
"""The weight of a domain or of a file's kind: ".td", ".pdf"."""
_SUFFIX_LETTERS = 5
_NAME = 1.5
"""What a word's weight is multiplied by where it is written like a name."""


class Token(NamedTuple):
    """A word, a number or a group of signs of a text: `start` to `end` in it.

    `key` is how it is compared; a number is compared by its value. `weight` says how much it proves
    when it stands in a passage, 0 for a common word; about 1 for an ordinary long one. What begins
    with a capital where any word would may be a name.
    """

    start: int
    end: int
    key: str
    weight: float
    number: PlacedNumber | None = None
    is_name: bool = False
    may_be_name: bool = False


def tokens(text: str, *, is_german: bool = False) -> list[Token]:
    """The tokens of `text`, in order. With `is_german` a capital makes no name."""
    shadow = _shadow(text)
    found: list[Token] = []
    at = 0
    for number in placed_numbers(text):
        found += _words(text, shadow, at, number.start, is_german)
        written = text[number.start : number.end]
        weight = NUMBER if sum(map(str.isdigit, written)) > 1 else DIGIT
        found.append(Token(number.start, number.end, "", weight, number))
        at = number.end
    found += _words(text, shadow, at, len(text), is_german)
    return found


def looks_german(text: str) -> bool:
    """Whether `text` has some words that hardly any other language has."""
    found = 0
    for match in re.finditer(r"\w+", text):
        found += match[0].casefold() in GERMAN
        if found >= _GERMAN_ENOUGH:
            return True
    return False


def _shadow(text: str) -> str:
    """`text` with a space for everything that is no letter, digit or mark."""
    return "".join([c if c.isalnum() or _is_mark(c) else " " for c in text])


def _is_mark(c: str) -> bool:
    return c > "\x7f" and unicodedata.category(c) in ("Mn", "Mc", "Me", "Cf")


def _words(text: str, shadow: str, start: int, end: int, is_german: bool) -> Iterator[Token]:
    last: Token | None = None  # held back: what follows a name says that it is one
    last_end = start
    for match in _RUN.finditer(shadow, start, end):
        kind = match.lastgroup
        if kind:
            yield from [last] if last else []
            last = None
            yield from _groups(match, 2 if kind == "pairs" else 3)
        else:
            between = text[last_end : match.start()]
            starts = match.start() == 0 or bool(_STARTS.search(between))
            token = _word(text, match, starts, is_german)
            if last:
                follows = between == " " and not is_german and _is_capital(match[0])
                yield _named(last) if follows and text[last.start].isupper() else last
            last = token
        last_end = match.end()
    if last:
        yield last


def _word(text: str, match: re.Match[str], starts: bool, is_german: bool) -> Token | None:
    key = fold(match[0])
    if not key:
        return None
    if _is_suffix(text, match):
        return Token(match.start() - 1, match.end(), f".{key}", _SUFFIX)
    weight = 0.0
    if key not in COMMON:
        weight = _SHORT + _PER_LETTER * min(len(key), _LETTERS)
        weight = _SINGLE_LETTER if len(key) == 1 else weight
    may_be_name = _is_capital(match[0]) and not is_german
    token = Token(match.start(), match.end(), key, weight, may_be_name=may_be_name)
    inner = any(map(str.isupper, match[0][1:])) or any(map(str.isdigit, match[0]))
    return (
        _named(token) if inner or (_is_capital(match[0]) and not (starts or is_german)) else token
    )


def _is_suffix(text: str, match: re.Match[str]) -> bool:
    """Whether a word has a point before it and nothing else: ".td"."""
    start = match.start()
    before = text[max(0, start - 2) : start]
    return before[-1:] == "." and not before[:-1].strip() and match.end() - start <= _SUFFIX_LETTERS


def _named(token: Token) -> Token:
    if token.is_name or not token.weight:
        return token
    return token._replace(is_name=True, weight=token.weight * _NAME)


def _is_capital(written: str) -> bool:
    return written[:1].isupper()


def _groups(match: re.Match[str], size: int) -> Iterator[Token]:
    signs = [found.span() for found in _SIGN.finditer(match.string, match.start(), match.end())]
    for first in range(max(1, len(signs) - size + 1)):
        group = signs[first : first + size]
        if not group:
            return
        start, end = group[0][0], group[-1][1]
        key = fold(match.string[start:end]).replace(" ", "")
        if key:
            yield Token(start, end, key, _group_weight(key, size))


def _group_weight(key: str, size: int) -> float:
    if size > len(key):
        return _SINGLE_LETTER / 2
    if size > 2:
        return _THREE
    if not COMMON_SIGNS.isdisjoint(key):
        return 0.0
    kana = len(_KANA.findall(key))
    return _KANA_ALONE if kana > 1 else _PAIR_WITH_KANA if kana else _PAIR


def fold(written: str) -> str:
    """A word as it is compared: without case, width, and accents that people leave out."""
    if written.isascii():
        return written.lower()
    return _fold(written) if len(written) <= _LONGEST_CACHED else " ".join(words(written))


@lru_cache(1 << 14)
def _fold(written: str) -> str:
    return " ".join(words(written))
