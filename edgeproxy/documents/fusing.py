"""A second ranking, by an embedding model's vectors, and one out of two.

Rankings are joined by reciprocal rank fusion: a passage of rank r in a ranking gets 1 / (60 + r)
(Cormack, Clarke and Büttcher, 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR). By itself that spoils what vectors find where a question has hardly
a word in common with its passage: all passages about the country that it names come before the
right one. So passages of about the same score by words share a rank, and one counts the less the
fewer of the question's words it has.
"""

from __future__ import annotations

import bisect
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, EdgeproxyError

Embed = Callable[[str], NDArray[Any]]
"""Of a text its vector, of shape (dimensions,) and of length 1."""

K = 60
"""Of reciprocal rank fusion, as in the paper."""

MOST = 100
"""So many passages has the ranking by vectors."""

ALIKE = 0.9
"""Scores of so much of a better one are about as good."""

POWER = 2.0
"""By words a passage counts by this power of its score."""

_ROUNDING = 1e-9

CHUNK_BYTES = 4 << 20
"""Vectors are read so many bytes at once."""


class Ranked(NamedTuple):
    """A passage's rank in a ranking, from 1 on, and what it counts, of 0 to 1."""

    number: int
    rank: int
    weight: float


def nearest(
    index: sqlite3.Connection,
    vector: NDArray[Any],
    cancel: Cancel | None = None,
    most: int = MOST,
) -> list[int]:
    """The passages whose vectors are nearest by their cosine, the nearest one first.

    Every vector of the index is read, a few megabytes at a time. Raises `EdgeproxyError` where the
    vectors are not of the question's model, `Cancelled`, `sqlite3.Error`.
    """
    wanted = np.asarray(vector, dtype=np.float32).ravel()
    if not np.isfinite(wanted).all():
        raise EdgeproxyError("the embedding model gave numbers that are not finite for a question")
    size = 2 * len(wanted)
    numbers = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    rows = index.execute("SELECT passage, vector FROM vectors")
    while some := rows.fetchmany(max(CHUNK_BYTES // max(size, 1), 1)):
        if cancel is not None and cancel.is_set():
            raise Cancelled("finding passages was stopped")
        if any(len(blob) != size for _, blob in some):
            raise EdgeproxyError(
                f"the index's vectors do not have the {len(wanted)} dimensions of the embedding"
                " model; index the documents anew with this model"
            )
        vectors = np.frombuffer(b"".join(blob for _, blob in some), "<f2")
        near = vectors.reshape(len(some), -1).astype(np.float32) @ wanted
        numbers = np.concatenate([numbers, np.array([number for number, _ in some], np.int64)])
        scores = np.concatenate([scores, np.nan_to_num(near, nan=-np.inf)])
        best = np.lexsort((numbers, -scores))[:most]
        numbers, scores = numbers[best], scores[best]
    return [int(number) for number in numbers]


def shared_ranks(scores: Sequence[tuple[int, float]]) -> dict[int, int]:
    """The rank of each passage by its score, the best ones first.

    Those that score about alike share the rank of the last of them: where a hundred passages have
    the one word that the question has in common with the index, none of them is a find.
    """
    descending = [-score for _, score in scores]
    return {
        number: bisect.bisect_right(descending, -ALIKE * score + _ROUNDING)
        for number, score in scores
    }


def by_words(scores: Sequence[tuple[int, float]]) -> list[Ranked]:
    """The ranking by words, of scores in which 1 is about all of a question's words."""
    ranks = shared_ranks(scores)
    return [Ranked(number, ranks[number], min(score, 1.0) ** POWER) for number, score in scores]


def by_vectors(numbers: Sequence[int]) -> list[Ranked]:
    """The ranking by vectors, of what is `nearest`."""
    return [Ranked(number, rank, 1.0) for rank, number in enumerate(numbers, start=1)]


def fused(rankings: Sequence[Sequence[Ranked]], k: int = K) -> list[tuple[int, float]]:
    """Out of rankings one: passages with what each has scored, the best ones first."""
    scores: dict[int, float] = {}
    for number, rank, weight in itertools.chain.from_iterable(rankings):
        scores[number] = scores.get(number, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
