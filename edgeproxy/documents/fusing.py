"""A second ranking, by an embedding model's vectors, and one out of two.

Rankings are joined by reciprocal rank fusion: a passage of rank r in a ranking gets 1 / (60 + r)
(Cormack, Clarke and Büttcher, 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

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

CHUNK_BYTES = 4 << 20
"""Vectors are read so many bytes at once."""


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


def fused(rankings: Sequence[Sequence[int]], k: int = K) -> list[tuple[int, float]]:
    """Out of rankings of passages one, with what each passage has scored."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
