"""Which of the candidates answer a question best.

A passage's score is the weighted sum of three shares, each of 0 to 1:

    coverage   of the question's words, by what they are worth, how much the passage has: a word
               counts as found with 1 - (1 - T)(1 - f), where T is what finding it in the trail
               proves and f grows with how often the text has it, as in BM25 (Robertson and
               Zaragoza, 2009, "The Probabilistic Relevance Framework", section 3)
    nearness   of the pairs of words side by side in the question, and of its names, how much stands
               side by side in the passage
    aim        of the trail's last part, how much is the question's

A trail says what a passage is about, so a word proves more there, and the more so the less else
that part of the trail says: "Capital" is about capitals, "Investment in fixed capital" is not. The
names of fields in a text ("Currency: franc; Rate: 606") count as parts of a trail do.

In a text a word of the question may stand by chance ("name", "people", "end"); several do so
together seldom, so that f also grows with the share of the question's words that the passage has.
The formula is edgeproxy's own; its numbers were chosen by questions about The World Factbook other
than those that it is measured with.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edgeproxy.documents.query import Group, Query
from edgeproxy.documents.terms import Terms

_TRAIL = 0.95
"""What a word in the trail proves; it proves more with the text's beside it."""
_WHOLE = 0.8
"""So much of that depends on how much of that part of the trail the question has."""
_TEXT, _TOGETHER = 0.6, 2.0
"""What a word proves that the text says ever so often, where the passage has all words; of a share
of them, the share to this power as much."""
_K1 = 0.4
"""How soon the text's repetitions stop counting."""
_B = 0.4
"""How much a word in a long text counts less."""

_LABEL = re.compile(r"(?:^|;\s|\n)\s{0,8}([^\s:;.,][^:;.\n]{0,60}): ")
_MOST_LABELS = 24

_NEARNESS = 0.25
_AIM = 0.04

Places = Mapping[str, Mapping[int, Sequence[int]]]
"""Term -> number of a text -> where it stands there."""


class Scored(NamedTuple):
    """A candidate's place in the list that was given, its score, and the words that it has."""

    number: int
    score: float
    words: tuple[str, ...]


def ranked(
    query: Query,
    trails: Sequence[Sequence[str]],
    texts: Sequence[str],
    terms: Terms,
    weigh: Callable[[str], float],
) -> list[Scored]:
    """The candidates that have a word of the question's, by their scores, the best one first.

    `weigh` tells what a term of the index is worth.
    """
    n = len(texts)
    # The texts come ahead, then each different part of a trail once.
    named = [
        (*trail, *labels(text), *trail[-1:]) for trail, text in zip(trails, texts, strict=True)
    ]
    numbers = {part: n + at for at, part in enumerate(dict.fromkeys(p for t in named for p in t))}
    parts = [[numbers[part] for part in names] for names in named]
    wanted = {
        term for group in (*query.groups, *query.phrases) for form in group.forms for term in form
    }
    places = terms.places([*texts, *numbers], wanted)
    groups = [_found(group, places) for group in query.groups]
    near = _side_by_side(query, groups, places)
    shares = _shares(numbers, query, terms, weigh)
    lengths = [_length(text) for text in texts]
    average = max(sum(lengths) / max(n, 1), 1.0)
    worth = sum(group.weight for group in query.groups) or 1.0
    # Pairs with function words alone are no reason to prefer a passage.
    near_worth = max(sum(weight for weight, _ in near), worth / 2)
    results = []
    for number in range(n):
        own = parts[number]
        norm = 1 - _B + _B * lengths[number] / average
        has = sum(
            group.weight
            for group, found in zip(query.groups, groups, strict=True)
            if number in found or not found.keys().isdisjoint(own)
        )
        proves = _TEXT * (has / worth) ** _TOGETHER
        coverage, words = 0.0, []
        for group, found in zip(query.groups, groups, strict=True):
            often = len(found.get(number, ()))
            share = max((shares[part] for part in own if part in found), default=0.0)
            if not often and not share:
                continue
            in_trail = _TRAIL * (1 - _WHOLE + _WHOLE * share) if share else 0.0
            in_text = proves * often / (often + _K1 * norm)
            coverage += group.weight * (1 - (1 - in_trail) * (1 - in_text))
            words += _forms_in(group, (number, *own), places)
        if not words:
            continue
        nearness = 0.0
        for weight, there in near:
            if not there.isdisjoint(own):
                nearness += weight
            elif number in there:
                nearness += proves * weight
        aim = shares[own[-1]] if trails[number] else 0.0
        score = coverage / worth + _NEARNESS * nearness / near_worth + _AIM * aim
        results.append(Scored(number, score, tuple(dict.fromkeys(words))))
    return sorted(results, key=lambda scored: (-scored.score, scored.number))


def labels(text: str) -> list[str]:
    """The names of fields that a text gives: "Currency" in "Currency: franc; Rate: 606"."""
    return [found[1] for found in itertools.islice(_LABEL.finditer(text), _MOST_LABELS)]


def _found(group: Group, places: Places) -> dict[int, list[int]]:
    """Where a group stands: the number of a text -> the places of its first terms."""
    found: dict[int, list[int]] = {}
    for form in group.forms:
        for number, begins in places.get(form[0], {}).items():
            rest = [set(places.get(term, {}).get(number, ())) for term in form[1:]]
            whole = [
                begin
                for begin in begins
                if all(begin + 1 + at in there for at, there in enumerate(rest))
            ]
            if whole:
                found.setdefault(number, []).extend(whole)
    return found


def _forms_in(group: Group, numbers: Sequence[int], places: Places) -> list[str]:
    """Which forms of a group stand in one of these texts."""
    return [
        " ".join(form)
        for form in group.forms
        if any(all(number in places.get(term, ()) for term in form) for number in numbers)
    ]


def _side_by_side(
    query: Query, groups: Sequence[Mapping[int, Sequence[int]]], places: Places
) -> list[tuple[float, set[int]]]:
    """Of each pair and phrase what it is worth, and the texts in which it stands."""
    found = []
    for a, b in query.pairs:
        there = {
            number
            for number in groups[a].keys() & groups[b].keys()
            if not {place + 1 for place in groups[a][number]}.isdisjoint(groups[b][number])
        }
        found.append((min(query.groups[a].weight, query.groups[b].weight), there))
    found += [(phrase.weight, set(_found(phrase, places))) for phrase in query.phrases]
    return found


def _shares(
    numbers: Mapping[str, int], query: Query, terms: Terms, weigh: Callable[[str], float]
) -> dict[int, float]:
    """Of each part of a trail, how much of it the question has, by what its words are worth."""
    asked = {term for group in query.groups for form in group.forms for term in form}
    shares = {}
    for number, cut in zip(numbers.values(), terms.of(list(numbers)), strict=True):
        had = sum(weigh(term) for term in cut if term in asked)
        shares[number] = had / (sum(map(weigh, cut)) or 1.0)
    return shares


def _length(text: str) -> int:
    """A text's terms, about."""
    return len(text.split()) if text.isascii() else max(len(text.split()), len(text) // 4)
