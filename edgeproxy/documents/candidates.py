"""The passages of an index that are worth a closer look, out of up to millions.

FTS5's bm25() takes about a microsecond a passage, so it scores those with a rare word of the
question. Frequent words only add to these.
"""

from __future__ import annotations

import heapq
import sqlite3

from edgeproxy.documents.query import Group, Query

MOST = 100
"""So many passages get a closer look."""

TRAIL_WEIGHT, TEXT_WEIGHT = 10.0, 1.0
"""What bm25() makes of a word in a trail, and of one in a text."""

_SCORED = 2_000
_SCORED_SHARE = 0.01
"""Passages that bm25() scores at most: so many, and that share of all."""

_LISTED = 5_000
"""Passages listed of a question that has frequent words only."""

_MOST_FREQUENT = 12
"""So many frequent words add to the scores, the rarest of them."""

_BOTH = 1.5
"""A frequent word in the trail counts so many times its weight, beside that of one anywhere."""


def candidates(index: sqlite3.Connection, query: Query, total: int) -> list[int]:
    """The numbers of at most `MOST` passages, the best ones first."""
    if not query.groups:
        return []
    rare, frequent = _parted(query, _SCORED + int(_SCORED_SHARE * total))
    if not rare:
        return _of_frequent(index, frequent)
    either = " OR ".join(group.match for group in [*rare, *_rare_phrases(query)])
    scores: dict[int, float] = dict(
        index.execute(
            "SELECT rowid, -bm25(words, ?, ?) FROM words WHERE words MATCH ?",
            (TRAIL_WEIGHT, TEXT_WEIGHT, either),
        )
    )
    # What has all words is looked at, however bm25() weighs them.
    for number in _listed(index, " AND ".join(group.match for group in query.groups), MOST):
        scores[number] = scores.get(number, 0.0) + sum(group.weight for group in query.groups)
    for group in frequent[:_MOST_FREQUENT]:
        for column, worth in (("trail text", 1.0), ("trail", _BOTH)):
            both = f"{{{column}}} : {group.match} AND ({either})"
            for number in _listed(index, both, len(scores)):
                if number in scores:
                    scores[number] += worth * group.weight
    return heapq.nsmallest(MOST, scores, key=lambda number: (-scores[number], number))


def _parted(query: Query, most: int) -> tuple[list[Group], list[Group]]:
    """The rarest groups that have at most so many passages together, and the others."""
    taken = 0
    by_number = sorted(query.groups, key=lambda group: group.passages)
    for at, group in enumerate(by_number):
        taken += group.passages
        if taken > most:
            return by_number[:at], by_number[at:]
    return by_number, []


def _rare_phrases(query: Query) -> list[Group]:
    """Phrases of rare words need no looking for; those of frequent ones may be rare themselves."""
    return [phrase for phrase in query.phrases if phrase.passages <= _LISTED]


def _of_frequent(index: sqlite3.Connection, groups: list[Group]) -> list[int]:
    """Passages with as many of the words as can be had together."""
    for n in range(len(groups), 0, -1):
        together = " AND ".join(group.match for group in groups[:n])
        in_trail = _listed(index, f"{{trail}} : ({together})", _LISTED)
        found = list(dict.fromkeys([*in_trail[:MOST], *_listed(index, together, _LISTED)]))
        if found:
            return found[:MOST]
    return []


def _listed(index: sqlite3.Connection, match: str, most: int) -> list[int]:
    rows = index.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", (match, most))
    return [number for (number,) in rows]
