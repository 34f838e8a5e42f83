"""Forms of one word: "franc" and "francs", "Москва" and "Москве", 서울 and 서울입니다.

No language is asked for: two words count as forms of one where they begin alike and what is left
of both is short. Stricter for names, for Niger is not Nigeria, and Austria not Australia.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from edgeproxy.text.words import HANGUL

_TAIL = 3
"""No ending has more letters."""
_STEM = 4
"""What words of more than an ending's difference have at least in common."""
_NAME_STEM = 7
"""As much a name has to share with one that ends otherwise, where it is of Latin letters."""
_MOST = 50
"""So many words are compared with one."""
_NAME_TAILS = frozenset(("es", "en", "er", "an"))
_HANGUL = re.compile(rf"[{HANGUL}]+")
_LATIN = re.compile("[a-z\u00df-\u024f]+")


def alike(one: str, other: str, *, is_name: bool = False) -> bool:
    """Whether two words, folded and not the same, are forms of one."""
    shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        shared += 1
    short, long = sorted((len(one) - shared, len(other) - shared))
    if long > _TAIL or not (one.isalpha() and other.isalpha()):
        return False
    if _HANGUL.fullmatch(one):
        return shared >= 2 and short == 0
    if is_name and _LATIN.fullmatch(one):
        if short:
            return long == 1 and shared >= _NAME_STEM
        tail = max(one, other, key=len)[shared:]
        return shared >= _STEM and (long == 1 or tail in _NAME_TAILS)
    if shared < _STEM:
        return shared == _STEM - 1 and (short, long) == (0, 1)
    if short and long > 1 and shared == _STEM:  # Paris, parity
        return False
    return short == 0 or 3 * shared >= 2 * (shared + long)


class Forms:
    """Words, to be asked for those that are forms of another."""

    def __init__(self, words: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = {}
        for word in dict.fromkeys(words):
            for stem in _stems(word):
                self._by_stem.setdefault(stem, []).append(word)

    def of(self, word: str, *, is_name: bool = False) -> list[str]:
        """The words that are forms of `word` and not itself."""
        near = (other for stem in _stems(word) for other in self._by_stem.get(stem, ()))
        found = islice(dict.fromkeys(islice(near, 4 * _MOST)), _MOST)
        return [other for other in found if other != word and alike(word, other, is_name=is_name)]


def _stems(word: str) -> Iterator[str]:
    if word.isalpha() and len(word) <= 64:
        shortest = 2 if _HANGUL.fullmatch(word) else _STEM - 1
        for length in range(len(word), max(shortest, len(word) - _TAIL) - 1, -1):
            yield word[:length]
