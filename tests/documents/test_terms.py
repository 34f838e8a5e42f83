"""Texts cut as an index cuts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents.terms import Terms
from edgeproxy.documents.words import has_signs, is_unspaced, unspaced_runs
from tests.helpers.document_indexes import close_all, filled


@pytest.fixture
def terms() -> Iterator[Terms]:
    made = Terms()
    yield made
    made.close()


def test_terms_are_folded_and_in_their_order(terms: Terms) -> None:
    assert terms.of(["São Tomé's ẤN", "", "乍得 x", "น้ำ"]) == [
        ["sao", "tome", "s", "an"],
        [],
        ["乍", "得", "x"],
        ["น้", "ำ"],
    ]


def test_each_call_starts_anew(terms: Terms) -> None:
    assert terms.of(["one", "two"]) == [["one"], ["two"]]
    assert terms.of(["three"]) == [["three"]]


def test_places_are_counted_in_terms(terms: Terms) -> None:
    found = terms.places(["a b a", "c a"], ["a", "c", "zyzzyva"])
    assert found == {"a": {0: [0, 2], 1: [1]}, "c": {1: [0]}}


@given(st.text(max_size=50))
def test_terms_are_those_of_an_index(text: str) -> None:
    text = text.replace("\0", "").encode(errors="replace").decode()
    index, terms = filled([text]), Terms()
    kept = {term for (term,) in index.execute("SELECT term FROM vocabulary")}
    assert set(terms.of([text])[0]) == kept
    terms.close()
    close_all()


def test_runs_without_spaces() -> None:
    assert unspaced_runs("In 東京タワー, ประเทศ!") == ["東京タワー", "ประเทศ"]
    assert (is_unspaced("乍"), is_unspaced("é"), is_unspaced("a")) == (True, False, False)
    assert (has_signs("น้"), has_signs("乍")) == (True, False)
