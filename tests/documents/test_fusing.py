"""Rankings by vectors, and one ranking out of two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.cancel import Flag
from edgeproxy.documents import fusing
from edgeproxy.documents.fusing import fused, nearest
from edgeproxy.errors import Cancelled, EdgeproxyError
from tests.helpers.document_indexes import close_all, filled


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def test_reciprocal_ranks_are_added() -> None:
    numbers, scores = zip(*fused([[7, 8], [8, 9]]), strict=True)
    assert numbers == (8, 7, 9)
    assert scores == pytest.approx((1 / 62 + 1 / 61, 1 / 61, 1 / 62))


@given(st.lists(st.lists(st.integers(0, 20), unique=True), max_size=4))
def test_a_fused_ranking_has_each_once_and_keeps_one_rankings_order(
    rankings: list[list[int]],
) -> None:
    numbers = [number for number, _ in fused(rankings)]
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
