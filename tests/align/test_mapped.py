"""Models whose tokens are the base's under other ids: padded and permuted vocabularies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproxy.align import LACKING, Aligned, align
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ContextFullError, EngineError
from tests.helpers.fakes import (
    END,
    TURN,
    TURN_END,
    FakeModel,
    Fault,
    fake_vocab,
    random_model,
    shuffled,
    wide_vocab,
    without,
)

SHARED = len(fake_vocab())
SEED, OTHER_SEED = 1, 9


def pair_over(vocab: Vocab, base: Vocab) -> tuple[Aligned, FakeModel]:
    """A pair of this vocabulary aligned to the base's, and the model behind its expert."""
    inner = random_model(SEED, vocab=vocab)
    return align(inner, random_model(OTHER_SEED, vocab=vocab), base), inner


def expert_over(vocab: Vocab, base: Vocab) -> tuple[Model, FakeModel]:
    pair, inner = pair_over(vocab, base)
    return pair.expert, inner


def log_softmax(raw: Logits) -> NDArray[np.float64]:
    wide = raw.astype(np.float64)
    return np.asarray(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True))


# Padded


@pytest.mark.parametrize(("base_extra", "pair_extra"), [(5, 0), (9, 2)])
def test_padded_rows_are_log_probabilities_of_the_shared_tokens(
    base_extra: int, pair_extra: int
) -> None:
    pair_vocab, shared = fake_vocab(pair_extra), SHARED + pair_extra
    aligned, _ = expert_over(pair_vocab, fake_vocab(base_extra))
    got = aligned.eval([1, 2, 3], 2)
    raw = random_model(SEED, vocab=pair_vocab).eval([1, 2, 3], 2)[:, :shared]
    np.testing.assert_allclose(got[:, :shared], log_softmax(raw), atol=1e-4)
    assert np.all(got[:, shared:] == LACKING)
    assert got.dtype == np.float32


def test_rows_that_speak_of_all_of_the_bases_tokens_are_the_models_own() -> None:
    aligned, _ = expert_over(fake_vocab(5), fake_vocab())
    raw = random_model(SEED, vocab=fake_vocab(5)).eval([1, 2, 3], 2)
    assert np.array_equal(aligned.eval([1, 2, 3], 2), raw[:, :SHARED])


def test_rows_may_grow_and_shrink_between_evals() -> None:
    aligned, _ = expert_over(fake_vocab(), fake_vocab(2))
    together = aligned.eval([1, 2, 3], 3).copy()
    aligned.rewind(3)
    for n, token in enumerate([1, 2, 3]):
        assert np.array_equal(aligned.eval([token], 1)[0], together[n])


def test_the_offset_of_a_token_that_the_pair_lacks_is_zero() -> None:
    base = fake_vocab(4)
    pair, _ = pair_over(fake_vocab(), base)
    base_row = random_model(3, vocab=base).eval([7]).copy()
    fused = fuse(base_row, pair.expert.eval([7]), pair.anti_expert.eval([7]), Steering(1.7))
    assert np.array_equal(fused[:, SHARED:], base_row[:, SHARED:])
    assert not np.array_equal(fused[:, :SHARED], base_row[:, :SHARED])


def test_padding_is_read_as_nothing() -> None:
    aligned, inner = expert_over(fake_vocab(), fake_vocab(2))
    first = aligned.eval([1, 2]).copy()
    assert np.array_equal(aligned.eval([SHARED]), first)
    assert (aligned.n_past, inner.history) == (3, [1, 2])


# Permuted


@pytest.mark.parametrize("seed", range(3))
def test_permuted_rows_are_the_gathered_ones_bit_for_bit(seed: int) -> None:
    other, places = shuffled(fake_vocab(), seed)
    aligned, inner = expert_over(other, fake_vocab())
    got = aligned.eval([1, 2, END, 3], 3)
    assert inner.history == places[[1, 2, END, 3]].tolist()
    raw = random_model(SEED, vocab=other).eval(inner.history, 3)
    assert np.array_equal(got, raw[:, places])
    assert aligned.vocab is not other


def test_a_permuted_pair_says_what_it_says_under_the_bases_ids() -> None:
    other, places = shuffled(fake_vocab())

    def renamed(seed: int) -> FakeModel:
        """The model `random_model(seed)` with its ids shuffled."""
        plain = random_model(seed)
        back = np.argsort(places)

        def row(history: object) -> NDArray[np.float32]:
            tokens = back[np.array(history)].tolist()
            plain.rewind(plain.n_past)
            return np.asarray(plain.eval(tokens)[0][back])

        return FakeModel(row, vocab=other)

    pair = align(renamed(1), renamed(2), fake_vocab())
    for model, seed in ((pair.expert, 1), (pair.anti_expert, 2)):
        assert np.array_equal(model.eval([5, 6, 7], 2), random_model(seed).eval([5, 6, 7], 2))


# Bar a few

LACK = (300, 2000)


@pytest.fixture(params=["the pair", "the base"])
def bar_a_few(request: pytest.FixtureRequest) -> tuple[Vocab, Vocab, NDArray[np.int64]]:
    """The base's vocabulary, the pair's, which lacks or has a few more words, and its ids."""
    full, some = wide_vocab(), without(wide_vocab(), *LACK)
    base, pair = (full, some) if request.param == "the pair" else (some, full)
    return base, *shuffled(pair)


def test_a_token_that_either_side_lacks_has_offset_zero(
    bar_a_few: tuple[Vocab, Vocab, NDArray[np.int64]],
) -> None:
    base, pair_vocab, places = bar_a_few
    pair, inner = pair_over(pair_vocab, base)
    rows = [model.eval([7, 8]).copy() for model in (pair.expert, pair.anti_expert)]
    difference = rows[0] - rows[1]
    assert np.all(difference[:, LACK] == 0.0)
    assert np.all(rows[0][:, LACK] == LACKING)
    there = np.delete(np.arange(len(base)), LACK)
    assert np.all(difference[:, there] != 0.0)
    assert np.all(np.abs(difference) < 100.0)
    raw = random_model(SEED, vocab=pair_vocab).eval(inner.history)
    np.testing.assert_allclose(rows[0][:, there], log_softmax(raw[:, places[there]]), atol=1e-4)


def test_a_word_that_the_pair_lacks_is_read_as_its_spelling() -> None:
    other, places = shuffled(without(wide_vocab(), *LACK))
    aligned, inner = expert_over(other, wide_vocab())
    spelled = wide_vocab().tokens[300]
    aligned.eval([1, 300, 301])
    assert inner.history == places[[1, *spelled, 301]].tolist()
    assert aligned.n_past == 3
    aligned.rewind(2)
    aligned.eval([2])
    assert inner.history == places[[1, 2]].tolist()


def test_the_rows_of_spelled_words_follow_their_last_tokens() -> None:
    other, places = shuffled(without(wide_vocab(), *LACK))
    aligned, _ = expert_over(other, wide_vocab())
    got = aligned.eval([1, 300, 301], 3).copy()
    spelled = list(wide_vocab().tokens[300])
    for n, read in enumerate(([1], [1, *spelled], [1, *spelled, 301])):
        raw = random_model(SEED, vocab=other).eval(places[read].tolist())[0]
        there = np.delete(np.arange(len(got[n])), LACK)
        np.testing.assert_allclose(got[n, there], log_softmax(raw[places[there]]), atol=1e-4)


def test_a_special_token_without_a_counterpart_is_read_as_nothing() -> None:
    other, places = shuffled(without(wide_vocab(), TURN))
    aligned, inner = expert_over(other, wide_vocab())
    first = aligned.eval([1, 2]).copy()
    evaluated = inner.n_evaluated
    assert np.array_equal(aligned.eval([TURN]), first)
    # The row is that of what was read before, which is evaluated again for it.
    assert inner.n_evaluated == evaluated + 1
    rows = aligned.eval([TURN, 3, TURN], 3).copy()
    assert np.array_equal(rows[0], first[0])
    assert np.array_equal(rows[1], rows[2])
    assert inner.history == places[[1, 2, 3]].tolist()
    assert aligned.n_past == 6


def test_a_row_cannot_follow_nothing() -> None:
    other, _ = shuffled(without(wide_vocab(), TURN))
    aligned, inner = expert_over(other, wide_vocab())
    with pytest.raises(EngineError, match="have read nothing"):
        aligned.eval([TURN])
    assert (aligned.n_past, inner.history) == (0, [])
    aligned.eval([TURN, 1])
    assert aligned.n_past == 2


# Invariants of a model


WIDE = wide_vocab()
CASES = {
    "padded": (fake_vocab(3), fake_vocab()),
    "whole": (fake_vocab(), fake_vocab(3)),
    "permuted": (WIDE, shuffled(WIDE)[0]),
    "few": (WIDE, shuffled(without(WIDE, TURN, 300))[0]),
    "pooled": (without(WIDE, TURN_END), shuffled(WIDE)[0]),
}
"""The vocabularies of a base and of a pair."""

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)

steps = st.lists(
    st.one_of(
        st.lists(st.sampled_from([65, 66, 300, TURN, END]), min_size=1, max_size=4),
        st.integers(1, 5),
    ),
    max_size=12,
)


@pytest.mark.slow
@every_case
@given(steps=steps)
def test_rows_depend_on_what_was_read_and_not_forgotten_alone(
    case: tuple[Vocab, Vocab], steps: list[list[int] | int]
) -> None:
    base, vocab = case
    aligned, _ = expert_over(vocab, base)
    read = [65]
    aligned.eval(read)
    for step in steps:
        if isinstance(step, int):
            n = min(step, len(read) - 1)
            aligned.rewind(n)
            del read[len(read) - n :]
        else:
            new = [token if token < len(base) else token % 256 for token in step]
            read += new
            rows = 1 + len(read) % len(new)
            fresh, _ = expert_over(vocab, base)
            assert np.array_equal(aligned.eval(new, rows), fresh.eval(read, rows))
        assert aligned.n_past == len(read)


@every_case
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [EngineError("no"), KeyboardInterrupt()])
def test_an_eval_that_fails_leaves_no_trace(
    case: tuple[Vocab, Vocab], error: BaseException, late: bool
) -> None:
    base, vocab = case
    aligned, inner = expert_over(vocab, base)
    aligned.eval([65, 66])
    aligned.rewind(1)
    inner.fail_on(1, Fault(error, late))
    with pytest.raises(type(error)):
        aligned.eval([67, 68, 69], 2)
    assert aligned.n_past == 1
    fresh, _ = expert_over(vocab, base)
    assert np.array_equal(aligned.eval([70, 71], 2), fresh.eval([65, 70, 71], 2))


@every_case
def test_a_full_context_leaves_no_trace(case: tuple[Vocab, Vocab]) -> None:
    base, vocab = case
    inner = random_model(SEED, vocab=vocab, n_ctx=4)
    aligned = align(inner, random_model(OTHER_SEED, vocab=vocab), base).expert
    aligned.eval([65, 66])
    with pytest.raises(ContextFullError):
        aligned.eval([67, 68, 69])
    assert (aligned.n_past, aligned.n_ctx) == (2, 4)
    fresh, _ = expert_over(vocab, base)
    assert np.array_equal(aligned.eval([67, 68]), fresh.eval([65, 66, 67, 68]))


@every_case
def test_impossible_requests_are_refused(case: tuple[Vocab, Vocab]) -> None:
    base, vocab = case
    aligned, _ = expert_over(vocab, base)
    aligned.eval([65])
    outside = len(base) + len(vocab)
    for tokens, rows in (([-1], 1), ([outside], 1), ([66], 0), ([66], 2), ([], 1)):
        with pytest.raises(EngineError):
            aligned.eval(tokens, rows)
    for n in (-1, 2):
        with pytest.raises(EngineError):
            aligned.rewind(n)
    assert aligned.n_past == 1
    assert len(aligned.eval([66])[0]) == len(base)
