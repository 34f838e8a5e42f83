"""How many passages of an index a word stands in, and which forms of it the index has."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from edgeproxy.documents.languages import (
    bare,
    beginnings,
    check_language,
    function_words,
    language_of,
    stem_of,
)

MOST_FORMS = 12
"""So many forms of a word are looked for at most, the most frequent ones."""

_MOST_SCANNED = 400
"""So many words that begin alike are compared by their stems."""

_LONGEST_ENDING = 7
"""No form of a word is so many letters longer than its stem."""

_COUNTED = 4_000
"""Passages with a phrase are counted up to here; it has as many as its rarest word, beyond."""

_LAST = "\U0010ffff"
"""Behind every letter."""


class Vocabulary:
    """The words of an index. Raises `sqlite3.Error` where the index cannot be read."""

    def __init__(self, index: sqlite3.Connection) -> None:
        self._index = index
        # Of the connection alone: it writes nothing to the file.
        (self.total,) = index.execute("SELECT count(*) FROM passages").fetchone()
        self._known: dict[str, int] = {}
        self._found_language: str | None = None
        self._has_looked = False

    def passages(self, word: str) -> int:
        """How many passages have exactly this word."""
        if word not in self._known:
            # A frequent word's passages would all be counted, were it not in that table.
            found = (
                self._index.execute(
                    "SELECT passages FROM common WHERE word = ?", (word,)
                ).fetchone()
                or self._index.execute(
                    "SELECT doc FROM vocabulary WHERE term = ?", (word,)
                ).fetchone()
            )
            self._known[word] = min(found[0], self.total) if found else 0
        return self._known[word]

    def phrase(self, words: Sequence[str]) -> int:
        """How many passages have these words one after another; too many where it is thousands."""
        if len(words) == 1:
            return self.passages(words[0])
        if not all(map(self.passages, words)):
            return 0
        (found,) = self._index.execute(
            "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)",
            (quoted(words), _COUNTED),
        ).fetchone()
        return int(found) if found < _COUNTED else min(map(self.passages, words))

    def weight(self, passages: int) -> float:
        """What a word that stands in so many passages says: its inverse document frequency.

        ln(1 + N / n), which stays above 0 for a word of every passage.
        """
        return math.log(1 + self.total / max(passages, 1))

    def worth(self, word: str) -> float:
        """The `weight` of a word."""
        return self.weight(self.passages(word))

    def forms(self, word: str, language: str | None) -> list[str]:
        """Words of the index with the same stem as `word`, itself ahead if the index has it."""
        own = [word] if self.passages(word) else []
        stem = stem_of(word, language)
        if stem is None:
            return own
        wanted = stem(word)
        counts: dict[str, int] = {}
        for begin in beginnings(word, wanted):
            for term, passages in self._beginning(begin):
                fits = len(term) <= len(wanted) + _LONGEST_ENDING
                if fits and term != word and (stem(term) == wanted or bare(term) == bare(word)):
                    counts[term] = passages
        self._known.update(counts)
        often = sorted(counts, key=lambda term: (-counts[term], term))
        return [*own, *often][:MOST_FORMS]

    def _beginning(self, begin: str) -> list[tuple[str, int]]:
        """Words that begin so, with how many passages have them.

        The vocabulary reads every place of a word to count it, so the scan leaps over common ones.
        """
        common = self._index.execute(
            "SELECT word, passages FROM common WHERE word >= ? AND word < ? ORDER BY word",
            (begin, begin + _LAST),
        ).fetchall()
        found = list(common)
        low = begin
        for high in [*(word for word, _ in common), None]:
            up_to = begin + _LAST if high is None else _just_below(high)
            found += self._index.execute(
                "SELECT term, doc FROM vocabulary WHERE term >= ? AND term <= ? LIMIT ?",
                (low, up_to, _MOST_SCANNED),
            ).fetchall()
            low = f"{high}\x01"
        return found

    @property
    def language(self) -> str | None:
        """The language of the index: what its settings say, else what its frequent words tell."""
        if not self._has_looked:
            told = self._index.execute(
                "SELECT value FROM settings WHERE name = 'language'"
            ).fetchone()
            if told:
                self._found_language = check_language(str(told[0]))
            else:
                counts = {word: self.passages(word) for word in function_words()}
                self._found_language = language_of(counts)
            self._has_looked = True
        return self._found_language


def quoted(words: Sequence[str]) -> str:
    """A phrase as FTS5 reads it, whatever is in the words."""
    return '"' + " ".join(words).replace('"', '""') + '"'


def _just_below(word: str) -> str:
    """A text behind all that sort before `word`, and before it."""
    last = ord(word[-1]) - 1
    if 0xD800 <= last < 0xE000:
        last = 0xD7FF
    return word[:-1] + chr(last) + _LAST
