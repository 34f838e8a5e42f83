"""A long text -> pieces of a size: cut where a sentence ends, else between words.

No piece begins amid a word, nor with a sign that belongs to the character before it. Only what no
space and no sentence parts for several pieces' length is cut between any two characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from edgeproxy.documents.sizes import MOST, Ratios

TOLERANCE = 1.25
"""A text of so many times the size is left whole: its rest would be too little by itself."""

_LONG_WORD = 4
"""So many pieces' length may a word have before it is cut."""

_CLOSING = "\"'’”»›)\\]}」』）】》〉"
_SENTENCE = re.compile(f"[.!?…؟۔।][{_CLOSING}]*(?=\\s)|[。！？｡．][{_CLOSING}]*|\n\\s*")
_SPACE = re.compile(r"\s")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_LEADING = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")
"""Thai and Lao vowels that stand before the consonant that they belong to."""

_JOINERS = frozenset("\u200d\u200c\u2060")
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_REGIONAL = range(0x1F1E6, 0x1F200)
_JAMO, _LEADING_JAMO = range(0x1100, 0x1200), range(0x1100, 0x1160)


def pieces(text: str, ratios: Ratios, size: float, overlap: float) -> Iterator[tuple[int, int]]:
    """Where the pieces of `text` begin and end, each of about `size` tokens.

    A piece begins with what ends the one before it: whole sentences or words, of at most `overlap`
    tokens. Takes time in proportion to the text's length, whatever is in it.
    """
    begin = done = 0
    widest = max(
        int(size * TOLERANCE * min(max(ratios.latin, ratios.dense, ratios.other), MOST)), 8
    )
    while begin < len(text):
        window = text[begin : begin + widest + 1]
        tokens = max(ratios.tokens(window), 0.001)
        a_token = len(window) / tokens
        if begin + len(window) == len(text) and tokens <= size * TOLERANCE:
            yield begin, len(text)
            return
        wanted = max(min(int(size * a_token), len(window)), 4)
        end = done = _cut(text, begin, max(begin + wanted, done + 1), done)
        yield begin, end
        if end >= len(text):
            return
        begin = _overlapped(text, begin, end, int(overlap * a_token))


def _cut(text: str, begin: int, wanted: int, done: int) -> int:
    """Where a piece that begins at `begin` ends: behind `done`, at `wanted` or a little before.

    Only a long word makes it end later.
    """
    if wanted >= len(text):
        return len(text)
    half = max(begin + (wanted - begin) // 2, done)
    last = None
    for found in _SENTENCE.finditer(text, half, wanted + 1):
        if half < found.end() <= wanted:
            last = found.end()
    if last is not None:
        return last
    for place in range(wanted, max(begin, done), -1):
        if is_between_words(text, place):
            return place
    # A word longer than a piece: to its end, unless that is far.
    far = min(begin + _LONG_WORD * (wanted - begin), len(text))
    for place in range(wanted, far):
        if is_between_words(text, place):
            return place
    if far == len(text):
        return far
    for place in range(far, wanted, -1):
        if _is_between_characters(text, place):
            return place
    return far


def _overlapped(text: str, begin: int, end: int, overlap: int) -> int:
    """Where the piece after one that ended at `end` begins: at most `overlap` characters before."""
    # More than half a piece twice would be no overlap but a copy.
    earliest = max(end - overlap, begin + (end - begin) // 2, begin + 1)
    if earliest < end:
        for found in _SENTENCE.finditer(text, earliest, end):
            if found.end() < end:
                return _after_space(text, found.end(), end)
        for place in range(earliest, end):
            if is_between_words(text, place):
                return _after_space(text, place, end)
    return _after_space(text, end, len(text))


def _after_space(text: str, place: int, most: int) -> int:
    while place < most and text[place].isspace():
        place += 1
    return place


def is_between_words(text: str, place: int) -> bool:
    """Whether `text` may be cut before its character at `place`, and no word is."""
    if not 0 < place < len(text):
        return True
    before, after = text[place - 1], text[place]
    if before.isspace() or after.isspace():
        return _is_between_characters(text, place)
    parted = _UNSPACED.match(before) or _UNSPACED.match(after)
    return bool(parted) and _is_between_characters(text, place)


def _is_between_characters(text: str, place: int) -> bool:
    """Whether what a person sees as one character stays whole if cut at `place`.

    The rules of Unicode's grapheme clusters (UAX #29) as far as cuts of long texts meet them.
    """
    before, after = text[place - 1], text[place]
    if after.isascii() and before.isascii():
        return not (before == "\r" and after == "\n")
    code = ord(after)
    if before in _JOINERS or after in _JOINERS or before in _LEADING:
        return False
    if unicodedata.category(after)[0] == "M" or code in _SKIN_TONES or after == "\u0e33":
        return False
    if 0xDC00 <= code < 0xE000 and 0xD800 <= ord(before) < 0xDC00:
        return False
    if code in _JAMO and ord(before) in _JAMO:
        return code in _LEADING_JAMO and ord(before) not in _LEADING_JAMO
    return not (code in _REGIONAL and ord(before) in _REGIONAL)
