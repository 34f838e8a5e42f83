"""A model brought to a list of tokens: always the right rows, with little evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.align.reader import Reader
from edgeproxy.core.model import Logits
from edgeproxy.errors import ContextFullError, EngineError
from tests.helpers.fakes import FakeModel, Fault, random_model

SEED = 3


def from_scratch(tokens: list[int], rows: int) -> Logits:
    return random_model(SEED).eval(tokens, rows)


def reader_of(tokens: bytes = b"", n_ctx: int = 4096) -> tuple[Reader, FakeModel]:
    model = random_model(SEED, n_ctx=n_ctx)
    reader = Reader(model)
    if tokens:
        reader.add(tokens)
        reader.read(1)
    return reader, model


tokens = st.lists(st.integers(0, 2), max_size=4)
"""Few different ones, so that what is wished again is often what was read."""
steps = st.lists(
    st.tuples(
        st.sampled_from(["cut", "add", "read", "early", "late", "ahead"]),
        st.integers(0, 12),
        tokens,
    ),
    max_size=25,
)


@given(steps)
def test_whatever_is_wished_the_rows_are_those_of_a_model_that_read_only_it(
    steps: list[tuple[str, int, list[int]]],
) -> None:
    reader, model = reader_of()
    want: list[int] = []
    for what, number, more in steps:
        if what == "cut":
            want = want[:number]
            reader.cut(number)
        elif what == "add":
            want += more
            reader.add(more)
        elif what == "ahead":
            if model.history == want:
                if more:
                    model.eval(more)
                reader.note_ahead(more)
        elif want:
            rows = 1 + number % len(want)
            if what == "read":
                assert np.array_equal(reader.read(rows), from_scratch(want, rows))
                assert model.history == want
            else:
                model.fail_on(1, Fault(KeyboardInterrupt(), late=what == "late"))
                with pytest.raises(KeyboardInterrupt):
                    reader.read(rows)
        assert reader.want == want
        assert model.history[: reader.agreed] == want[: reader.agreed]
    if want:
        assert np.array_equal(reader.read(1), from_scratch(want, 1))


def test_only_what_is_new_is_evaluated() -> None:
    reader, model = reader_of(b"abcdef")
    reader.add(b"gh")
    reader.read(1)
    assert model.evals[-1] == list(b"gh")
    reader.cut(4)
    reader.add(b"xy")
    reader.read(1)
    assert model.evals[-1] == list(b"xy")


def test_a_wish_that_is_taken_back_and_made_again_costs_nothing_but_its_rows() -> None:
    reader, model = reader_of(b"abcdef")
    reader.cut(1)
    reader.add(b"bcdef")
    assert reader.agreed == 6
    assert model.rewinds == []
    assert np.array_equal(reader.read(2), from_scratch([*b"abcdef"], 2))
    assert model.evals[-1] == list(b"ef")


def test_what_was_read_ahead_is_not_read_again() -> None:
    reader, model = reader_of(b"abc")
    model.eval(b"de")
    reader.note_ahead(b"de")
    reader.add(b"def")
    assert reader.agreed == 5
    reader.read(1)
    assert model.evals[-1] == list(b"f")


@pytest.mark.parametrize("rows", [0, 4])
def test_rows_that_nothing_was_wished_for_are_refused(rows: int) -> None:
    reader, model = reader_of(b"abc")
    with pytest.raises(EngineError, match=f"{rows} rows asked of 3 tokens"):
        reader.read(rows)
    assert model.history == list(b"abc")


def test_what_does_not_fit_leaves_the_rest_as_it_was() -> None:
    reader, model = reader_of(b"abc", n_ctx=4)
    reader.add(b"de")
    with pytest.raises(ContextFullError):
        reader.read(1)
    reader.cut(4)
    assert np.array_equal(reader.read(1), from_scratch([*b"abcd"], 1))
    assert model.n_evaluated == len(b"abc") + len(b"de") + len(b"d")
