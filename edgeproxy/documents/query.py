"""A question -> what is looked for: words in all their forms, phrases, and how much each counts.

What a person types never becomes syntax: a question is cut into the index's own terms, and each of
them is quoted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgeproxy.documents.languages import is_function_word, language_of
from edgeproxy.documents.terms import Terms, possible
from edgeproxy.documents.vocabulary import Vocabulary, quoted
from edgeproxy.documents.words import has_signs, is_unspaced, unspaced_runs
from edgeproxy.prompts.messages import Message

MOST_GROUPS = 32
"""So many words of a question are looked for, the rarest."""

MOST_CHARACTERS = 100_000
"""A longer question is cut here."""

_PHRASED = 2_000
"""Phrases are looked for in so many characters; they are no longer a question's beyond these."""
_MOST_PHRASES = 8
_MOST_PAIRS = 48
"""So many pairs of characters of scripts without spaces are counted."""

_FEW = 3
"""A question with fewer words that say something is filled in from the turns before it."""
_TURNS = 2
"""Turns of the person's that may fill a question in."""
_EARLIER, _BESIDE = 0.5, 0.25
"""What a word of theirs counts beside one of the question: where it is to fill in, and else."""
_SHORT = 12
"""A question of more words stands by itself."""

_FUNCTION_WEIGHT = 0.2
"""A function word is worth no more, however few passages have it: few passages, or terse ones, do
not tell such words from others by their frequency."""

SAYING = 0.05
"""A word that says something stands in at most this share of the passages."""

_WORD = r"[^\W_]+(?:['’][^\W_]+)*"
_QUOTED = re.compile('["“„«「『]([^"“”„«»「」『』]{2,200})["”“»」』]')
_CODE = re.compile(r"[^\W_]+(?:[-./:,_#+][^\W_]+)+")
_RUN = re.compile(rf"{_WORD}(?:[ \t]+{_WORD})+")


class Asked(NamedTuple):
    """A question, and what was asked before it in the same conversation, the latest at the end."""

    text: str
    earlier: str = ""


@dataclass(frozen=True)
class Group:
    """A word in the forms that an index has, or a phrase: each a list of terms in a row.

    `passages` is in how many of them it stands, `weight` what finding it is worth.
    """

    forms: tuple[tuple[str, ...], ...]
    passages: int
    weight: float

    @property
    def match(self) -> str:
        """It in the language of FTS5."""
        return "(" + " OR ".join(map(quoted, self.forms)) + ")"


@dataclass(frozen=True)
class Query:
    """What is looked for, the rarest first.

    `pairs` are numbers of groups that stand side by side in the question. `phrases` count besides
    the words that they are made of.
    """

    groups: tuple[Group, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    phrases: tuple[Group, ...] = ()


def question_of(messages: Sequence[Message]) -> Asked:
    """What a conversation asks: the person's last turn, and those before to fill it in.

    "And of Niger?" behind "What is the currency of Chad?" asks about Niger's currency; whether a
    question needs that is decided where it is looked for, by how much its words say there: their
    words count half as much, a quarter where the question says something by itself, and nothing
    beside a long one. What a model has replied is not looked for.
    """
    asked = [message.content for message in messages if message.role == "user"]
    return Asked(asked[-1], "\n".join(asked[-1 - _TURNS : -1])) if asked else Asked("")


def query(asked: Asked, vocabulary: Vocabulary, terms: Terms, language: str | None = None) -> Query:
    """What to look for; `language` is of the question's words, found out where it is None."""
    text = possible(asked.text[:MOST_CHARACTERS])
    earlier = possible(asked.earlier[-MOST_CHARACTERS:])
    phrases, runs = _phrases(text), unspaced_runs(text)[:_MOST_PAIRS]
    earlier_runs = unspaced_runs(earlier)[:_MOST_PAIRS]
    cut = terms.of([text, earlier, *phrases, *runs, *earlier_runs])
    mine, before = cut[:2]
    of_phrases = cut[2 : 2 + len(phrases)]
    of_runs = cut[2 + len(phrases) : 2 + len(phrases) + len(runs)]
    of_earlier_runs = cut[2 + len(phrases) + len(runs) :]

    language = language or language_of(dict.fromkeys(mine, 1)) or vocabulary.language
    making = _Making(vocabulary, language)
    making.add(mine, of_runs, 1.0)
    if making.saying < _FEW:
        making.add(before, of_earlier_runs, _EARLIER)
    elif len(mine) <= _SHORT:
        making.add(before, of_earlier_runs, _BESIDE)
    return making.query([*of_phrases, *of_runs])


class _Making:
    def __init__(self, vocabulary: Vocabulary, language: str | None) -> None:
        self._vocabulary = vocabulary
        self._language = language
        self._groups: dict[tuple[str, ...], Group] = {}
        self._of_word: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._function: set[tuple[str, ...]] = set()
        self._pairs: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def add(self, words: Sequence[str], runs: Sequence[Sequence[str]], worth: float) -> None:
        spaced_words: list[tuple[str, ...]] = [(word,) for word in words if not is_unspaced(word)]
        counts: dict[tuple[str, ...], int] = {
            unit: self._vocabulary.passages(unit[0]) for unit in spaced_words
        }
        # A word that the index lacks may have forms there that it has, so it stays for now.
        rarest = sorted(counts, key=lambda unit: (counts[unit] or 1, len(unit[0]) < 3))
        for unit in rarest[: 2 * MOST_GROUPS]:
            self._add_word(unit, worth)
        self._pair(spaced_words)
        units = [unit for run in runs for unit in _units(run)]
        for unit in self._rarest_pairs(units):
            if (passages := self._vocabulary.phrase(unit)) and unit not in self._groups:
                weight = worth * self._vocabulary.weight(passages)
                self._groups[unit] = Group((unit,), passages, weight)
                self._of_word[unit] = unit
        for run in runs:
            self._pair([tuple(run[at : at + 2]) for at in range(len(run) - 1)])

    def _add_word(self, unit: tuple[str, ...], worth: float) -> None:
        if unit in self._of_word:
            return
        forms = self._vocabulary.forms(unit[0], self._language)
        if not forms:
            return
        key = tuple(sorted(forms))
        self._of_word[unit] = key
        if key not in self._groups:
            counted = sum(map(self._vocabulary.passages, forms))
            passages = min(counted, self._vocabulary.total)
            weight = worth * self._vocabulary.weight(passages)
            if is_function_word(unit[0], self._language):
                weight = min(weight, worth * _FUNCTION_WEIGHT)
                self._function.add(key)
            self._groups[key] = Group(tuple((form,) for form in forms), passages, weight)

    def _rarest_pairs(self, units: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
        known = {unit: min(map(self._vocabulary.passages, unit)) for unit in units}
        there = [unit for unit, passages in known.items() if passages]
        return sorted(there, key=lambda unit: known[unit])[:_MOST_PAIRS]

    def _pair(self, units: Sequence[tuple[str, ...]]) -> None:
        self._pairs += itertools.pairwise(units)

    @property
    def saying(self) -> int:
        """How many words there are that say something."""
        most = max(SAYING * self._vocabulary.total, 1)
        return sum(
            group.passages <= most and key not in self._function
            for key, group in self._groups.items()
        )

    def query(self, phrases: Iterable[Sequence[str]]) -> Query:
        rarest = sorted(self._groups, key=lambda key: -self._groups[key].weight)[:MOST_GROUPS]
        number = {key: place for place, key in enumerate(rarest)}
        pairs = dict.fromkeys(
            (number[self._of_word[a]], number[self._of_word[b]])
            for a, b in self._pairs
            if self._of_word.get(a) in number and self._of_word.get(b) in number
        )
        found: list[Group] = []
        for phrase in dict.fromkeys(tuple(phrase) for phrase in phrases if len(phrase) > 1):
            if len(found) < _MOST_PHRASES and (count := self._vocabulary.phrase(phrase)):
                found.append(Group((phrase,), count, self._vocabulary.weight(count)))
        groups = tuple(self._groups[key] for key in rarest)
        return Query(groups, tuple((a, b) for a, b in pairs if a != b), tuple(found))


def _units(run: Sequence[str]) -> list[tuple[str, ...]]:
    """A run's overlapping twos; of scripts whose characters say less, threes as well."""
    if len(run) == 1:
        return [tuple(run)]
    sizes = (2, 3) if has_signs(run[0]) else (2,)
    return [tuple(run[at : at + n]) for n in sizes for at in range(len(run) - n + 1)]


def _phrases(text: str) -> list[str]:
    """What a question names as a whole: quotations, codes, runs of words with capitals."""
    text = text[:_PHRASED]
    found = [*_QUOTED.findall(text), *_CODE.findall(text)]
    for run in _RUN.findall(text):
        found += _names(run.split())
    return list(dict.fromkeys(found))[: 4 * _MOST_PHRASES]


def _names(words: Sequence[str]) -> list[str]:
    """Runs of words that begin with a capital; a short one between two of them belongs to it."""
    found: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        links = run and word and len(word) <= 3 and run[-1][:1].isupper()
        if word[:1].isupper() or links:
            run.append(word)
        else:
            while run and not run[-1][:1].isupper():
                run.pop()
            if len(run) > 1:
                found.append(" ".join(run))
                if run[0] == words[0] and len(run) > 2:  # "Is New Zealand ..."
                    found.append(" ".join(run[1:]))
            run = []
    return found
