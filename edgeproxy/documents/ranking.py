"""Which of the candidates answer a question best.

A passage's score is the sum of three shares, each of 0 to 1:

    coverage   of the question's words, by what they are worth, how much the passage has: a word
               counts as found with 1 - (1 - T)(1 - f), where T is what finding it in the trail
               proves and f grows with how often the text has it, as in BM25 (Robertson and
               Zaragoza, 2009, "The Probabilistic Relevance Framework", section 3)
    nearness   of the pairs of words side by side in the question, and of its names, how much stands
               side by side in the passage
    aim        of the words of the trail's last part, how many are the question's

That a word stands in the trail is a stronger sign than any number of times in the text: a trail
says what a passage is about. The aim tells apart siblings: of "Capital - name" and
"Capital - time difference", neither of which the question may name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgeproxy.documents.query import Group, Query
from edgeproxy.documents.terms import Terms

_TRAIL = 0.95
"""What a word in the trail proves; it proves more with the text's beside it."""
_TEXT = 0.3
"""What a word proves that the text says ever so often."""
_K1 = 0.4
"""How soon the text's repetitions stop counting."""
_B = 0.4
"""How much a word in a long text counts less."""

_WHOLE = 0.5
"""So much of that depends on whether the question has the whole part of the trail."""

_NEARNESS = 0.25
_AIM = 0.12


class Scored(NamedTuple):
    """A candidate's place in the list that was given, its score, and the words that it has."""

    number: int
    score: float
    words: tuple[str, ...]


@dataclass
class _Hits:
    """Where each group stands: the number of a text -> the places of its first terms."""

    of_group: list[dict[int, list[int]]]


def ranked(
    query: Query, trails: Sequence[Sequence[str]], texts: Sequence[str], terms: Terms
) -> list[Scored]:
    """The candidates that have a word of the question's, by their scores, the best one first."""
    parts = [part for trail in trails for part in trail]
    wanted = {
        term
        for group in (*query.groups, *query.phrases)
        for form in group.forms
        for term in form
    }
    n = len(texts)
    # The texts, then the parts of the trails.
    places = terms.places([*texts, *parts], wanted)
    groups = [_found(group, places) for group in query.groups]
    phrases = [_found(phrase, places) for phrase in query.phrases]
    lengths = [_length(text) for text in texts]
    average = max(sum(lengths) / max(n, 1), 1.0)
    worth = sum(group.weight for group in query.groups) or 1.0
    near_worth = _near_worth(query) or 1.0
    results = []
    first = n
    for number in range(n):
        own_parts = range(first, first + len(trails[number]))
        first += len(trails[number])
        had = [sum(part in found for found in groups) for part in own_parts]
        shares = [
            min(had[at] / max(_length(parts[part - n]), 1), 1.0)
            for at, part in enumerate(own_parts)
        ]
        norm = 1 - _B + _B * lengths[number] / average
        coverage, words = 0.0, []
        for group, found in zip(query.groups, groups, strict=True):
            often = len(found.get(number, ()))
            share = max(
                (shares[at] for at, part in enumerate(own_parts) if part in found), default=0.0
            )
            if not often and not share:
                continue
            trail = _TRAIL * (1 - _WHOLE + _WHOLE * share) if share else 0.0
            text = _TEXT * often / (often + _K1 * norm)
            coverage += group.weight * (1 - (1 - trail) * (1 - text))
            words += [
                " ".join(form)
                for form in group.forms
                if any(_stands(form, place, places) for place in (number, *own_parts))
            ]
        if not words:
            continue
        near = _near(query, groups, phrases, (number, *own_parts)) / near_worth
        aim = shares[-1] if shares else 0.0
        score = coverage / worth + _NEARNESS * near + _AIM * aim
        results.append(Scored(number, score, tuple(dict.fromkeys(words))))
    return sorted(results, key=lambda scored: (-scored.score, scored.number))


def _found(
    group: Group, places: Mapping[str, Mapping[int, Sequence[int]]]
) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for form in group.forms:
        first = places.get(form[0], {})
        for number, begins in first.items():
            if len(form) == 1:
                found.setdefault(number, []).extend(begins)
                continue
            rest = [set(places.get(term, {}).get(number, ())) for term in form[1:]]
            whole = [
                begin
                for begin in begins
                if all(begin + 1 + at in there for at, there in enumerate(rest))
            ]
            if whole:
                found.setdefault(number, []).extend(whole)
    return found


def _stands(
    form: tuple[str, ...], number: int, places: Mapping[str, Mapping[int, Sequence[int]]]
) -> bool:
    return all(number in places.get(term, {}) for term in form)


def _near_worth(query: Query) -> float:
    pairs = sum(min(query.groups[a].weight, query.groups[b].weight) for a, b in query.pairs)
    return pairs + sum(phrase.weight for phrase in query.phrases)


def _near(
    query: Query,
    groups: Sequence[Mapping[int, Sequence[int]]],
    phrases: Sequence[Mapping[int, Sequence[int]]],
    numbers: Sequence[int],
) -> float:
    """What the pairs and phrases that stand in one of these texts are worth."""
    worth = 0.0
    for a, b in query.pairs:
        for number in numbers:
            after = set(groups[b].get(number, ()))
            if after and any(place + 1 in after for place in groups[a].get(number, ())):
                worth += min(query.groups[a].weight, query.groups[b].weight)
                break
    for phrase, found in zip(query.phrases, phrases, strict=True):
        if any(number in found for number in numbers):
            worth += phrase.weight
    return worth


def _length(text: str) -> int:
    """A text's terms, about."""
    return len(text.split()) if text.isascii() else max(len(text.split()), len(text) // 4)
