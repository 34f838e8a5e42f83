"""Rankings by vectors, and one ranking out of two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.cancel import Flag
from edgeproxy.documents import fusing
from edgeproxy.documents.fusing import by_vectors, by_words, fused, nearest, shared_ranks
from edgeproxy.errors import Cancelled, EdgeproxyError
from tests.helpers.document_indexes import close_all, filled


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def test_reciprocal_ranks_are_added() -> None:
    numbers, scores = zip(*fused([by_vectors([7, 8]), by_vectors([8, 9])]), strict=True)
    assert numbers == (8, 7, 9)
    assert scores == pytest.approx((1 / 62 + 1 / 61, 1 / 61, 1 / 62))


def test_by_words_a_passage_counts_by_how_much_of_the_question_it_has() -> None:
    ranking = by_words([(1, 1.3), (2, 0.5), (3, 0.0)])
    assert ranking == [(1, 1, 1.0), (2, 2, 0.25), (3, 3, 0.0)]
    assert fused([ranking, by_vectors([3])])[:2] == [(1, 1 / 61), (3, 1 / 61)]


def test_what_scores_about_alike_shares_a_rank() -> None:
    scores = [(5, 1.0), (6, 0.95), (7, 0.5), (8, 0.46), (9, 0.1)]
    assert shared_ranks(scores) == {5: 2, 6: 2, 7: 4, 8: 4, 9: 5}
    assert shared_ranks([(1, 0.0), (2, 0.0)]) == {1: 2, 2: 2}
    assert shared_ranks([]) == {}


@given(st.lists(st.lists(st.integers(0, 20), unique=True), max_size=4))
def test_a_fused_ranking_has_each_once_and_keeps_one_rankings_order(
    rankings: list[list[int]],
) -> None:
    numbers = [number for number, _ in fused([by_vectors(one) for one in rankings])]
    assert sorted(numbers) == sorted({number for ranking in rankings for number in ranking})
    if len(rankings) == 1:
        assert numbers == rankings[0]


@pytest.mark.parametrize("chunk", [1, 16, 1 << 20])
def test_the_nearest_come_first_however_many_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(fusing, "CHUNK_BYTES", chunk)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = filled([])
    stored = vectors.astype("<f2")
    for number, vector in enumerate(stored):
        index.execute("INSERT INTO vectors VALUES (?, ?)", (number, vector.tobytes()))
    near = stored.astype(np.float32) @ vectors[3].astype(np.float32)
    wanted = sorted(range(50), key=lambda number: (-near[number], number))[:10]
    assert nearest(index, vectors[3], most=10) == wanted


def test_no_vectors_no_ranking() -> None:
    assert nearest(filled([]), np.ones(3)) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(EdgeproxyError, match="finite"):
        nearest(filled([]), np.array([1.0, value]))


def test_a_damaged_vector_comes_last() -> None:
    index = filled([])
    for number, vector in enumerate([[np.nan, 0], [-1, 0], [1, 0]]):
        index.execute(
            "INSERT INTO vectors VALUES (?, ?)", (number, np.array(vector, "<f2").tobytes())
        )
    assert nearest(index, np.array([1.0, 0.0])) == [2, 1, 0]


def test_reading_vectors_can_be_stopped() -> None:
    index = filled([])
    index.execute("INSERT INTO vectors VALUES (1, ?)", (b"\0\0",))
    cancel = Flag()
    cancel.set()
    with pytest.raises(Cancelled):
        nearest(index, np.ones(1), cancel)
