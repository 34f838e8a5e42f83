"""Drawing tokens: what each setting keeps, and the distribution of what is drawn."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.errors import EngineError, LogitsError, UsageError
from edgeproxy.llama import SamplerChain
from tests.helpers.fakes import word_vocab

OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""The distribution as it is."""


def vocab_of(n: int) -> Vocab:
    return word_vocab(*(f"w{i}" for i in range(n)))


def row_of(*probabilities: float) -> Logits:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float32))


def draws(row: Logits, n: int, **settings: Any) -> Counter[int]:
    """How often each token is drawn from the same row."""
    sampler = Sampler(vocab_of(len(row)), Sampling(**{**OFF, "seed": 7, **settings}))
    drawn = Counter(sampler(row) for _ in range(n))
    sampler.close()
    return drawn


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=20))
def test_temperature_zero_takes_the_most_probable_token(logits: list[float]) -> None:
    row = np.array(logits, np.float32)
    sampler = Sampler(vocab_of(len(row)), Sampling(temperature=0.0))
    assert sampler(row) == int(row.argmax())


def test_temperature_zero_with_a_bias_takes_the_most_probable_token_too() -> None:
    row = row_of(0.5, 0.3, 0.2)
    biased = Sampler(vocab_of(3), Sampling(logit_bias={2: 1.0}))
    assert biased(row) == 2
    assert Sampler(vocab_of(3), Sampling(logit_bias={2: 0.1}))(row) == 0


def test_draws_at_temperature_one_follow_softmax() -> None:
    n, p = 4_000, np.array([0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
    drawn = draws(row_of(*p) + np.float32(3.0), n)
    chi_square = sum((drawn[i] - n * p[i]) ** 2 / (n * p[i]) for i in range(len(p)))
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded by chance once in a thousand seeds


def test_temperature_divides_the_logits() -> None:
    n, p = 4_000, np.array([0.6, 0.3, 0.1])
    hot = p**0.5 / (p**0.5).sum()
    drawn = draws(row_of(*p), n, temperature=2.0)
    chi_square = sum((drawn[i] - n * hot[i]) ** 2 / (n * hot[i]) for i in range(len(p)))
    assert chi_square < 13.8  # 2 degrees of freedom, one in a thousand


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    row = np.zeros(50, np.float32)

    def first_twenty(seed: int) -> list[int]:
        sampler = Sampler(vocab_of(50), Sampling(**{**OFF, "seed": seed}))
        return [sampler(row) for _ in range(20)]

    assert first_twenty(5) == first_twenty(5)
    assert first_twenty(5) != first_twenty(6)
    assert first_twenty(2**32 - 2) == first_twenty(2**32 - 2)


def test_without_a_seed_one_is_drawn_and_told() -> None:
    row, vocab = np.zeros(1000, np.float32), vocab_of(1000)
    one, two = (Sampler(vocab, Sampling(**OFF)) for _ in range(2))
    assert one.seed != two.seed
    again = Sampler(vocab, Sampling(**OFF, seed=one.seed))
    assert [one(row) for _ in range(10)] == [again(row) for _ in range(10)]


PROBABILITIES = (0.05, 0.4, 0.2, 0.25, 0.1)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 2}, {1, 3}),
        ({"top_k": 1}, {1}),
        ({"top_k": 100}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.6}, {1, 3}),
        ({"top_p": 0.7}, {1, 2, 3}),
        ({"top_p": 0.0}, {1}),
        ({"min_p": 0.3}, {1, 2, 3}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "min_p": 0.55}, {1, 3}),
        ({"logit_bias": {1: -100.0}}, {0, 2, 3, 4}),
        ({"logit_bias": {0: 100.0}}, {0}),
    ],
)
def test_settings_keep_exactly_the_tokens_that_they_say(
    settings: dict[str, Any], kept: set[int]
) -> None:
    assert set(draws(row_of(*PROBABILITIES), 600, **settings)) == kept


def test_what_is_kept_keeps_its_proportions() -> None:
    n = 2_000
    drawn = draws(row_of(*PROBABILITIES), n, top_k=2)
    p = 0.4 / 0.65
    assert abs(drawn[1] - n * p) < 4 * math.sqrt(n * p * (1 - p))


def test_masked_tokens_are_never_drawn() -> None:
    assert set(draws(row_of(0.0, 0.5, 0.0, 0.5), 300)) == {1, 3}
    assert set(draws(row_of(0.0, 0.0, 1.0), 10, logit_bias={0: 50.0})) == {2}


def test_a_biased_token_is_found_whatever_the_mask_left() -> None:
    assert set(draws(row_of(0.0, 0.3, 0.0, 0.3, 0.4), 100, logit_bias={3: 100.0})) == {3}


def test_a_repeated_token_is_penalised() -> None:
    row = np.array([3.0, 2.9, -9.0], np.float32)
    sampler = Sampler(vocab_of(3), Sampling(repeat_penalty=2.0))
    assert [sampler(row) for _ in range(3)] == [0, 1, 0]


def test_the_largest_logit_counts_as_20_where_a_penalty_divides() -> None:
    # 20 / 1.25 is 16, so a token 4.1 below the largest is not chosen, and one 3.9 below is.
    for second, chosen in ((-4.1, 0), (-3.9, 1)):
        sampler = Sampler(vocab_of(2), Sampling(repeat_penalty=1.25))
        row = np.array([0.0, second], np.float32)
        assert [sampler(row), sampler(row)] == [0, chosen]


@given(
    st.lists(st.integers(-120, 0), min_size=2, max_size=20),
    st.sampled_from([-40.0, -8.0, -0.5, 0.25, 8.0, 64.0]),
    st.sampled_from([0.5, 0.9, 1.1, 1.3, 2.0]),
)
def test_a_penalty_is_the_same_wherever_a_rows_zero_is(
    quarters: list[int], zero: float, penalty: float
) -> None:
    """As of a server's log-probabilities, and of the logits of the same model here."""
    row = np.array(quarters, np.float32) * np.float32(0.25)  # of which sums have no rounding
    drawn = []
    for each in (row, row + np.float32(zero)):
        sampler = Sampler(vocab_of(len(row)), Sampling(repeat_penalty=penalty))
        drawn.append([sampler(each) for _ in range(6)])
        sampler.close()
    assert drawn[0] == drawn[1]


def test_presence_and_frequency_are_penalised() -> None:
    row = np.array([3.0, 2.0, 1.0], np.float32)
    present = Sampler(vocab_of(3), Sampling(presence_penalty=1.5))
    assert [present(row) for _ in range(4)] == [0, 1, 0, 0]
    frequent = Sampler(vocab_of(3), Sampling(frequency_penalty=0.6))
    assert [frequent(row) for _ in range(4)] == [0, 0, 1, 0]


def test_a_penalty_reaches_as_far_back_as_asked() -> None:
    row = np.array([3.0, 2.5, 0.0], np.float32)
    sampler = Sampler(vocab_of(3), Sampling(presence_penalty=1.0, repeat_last_n=1))
    assert [sampler(row) for _ in range(4)] == [0, 1, 0, 1]
    none = Sampler(vocab_of(3), Sampling(presence_penalty=1.0, repeat_last_n=0))
    assert [none(row) for _ in range(3)] == [0, 0, 0]


def test_each_reply_begins_without_penalties() -> None:
    row = np.array([3.0, 2.9, 0.0], np.float32)
    settings = Sampling(repeat_penalty=2.0)
    assert [Sampler(vocab_of(3), settings)(row) for _ in range(3)] == [0, 0, 0]


def test_dry_needs_weights() -> None:
    with pytest.raises(UsageError, match="DRY"):
        Sampler(vocab_of(3), Sampling(dry_multiplier=0.8))


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 1.0}, {"logit_bias": {0: 0.5}}, {"repeat_penalty": 1.2}],
)
@pytest.mark.parametrize(
    "logits",
    [
        [math.nan, 1.0, 2.0],
        [1.0, 2.0, math.nan],
        [-math.inf] * 3,
        [math.nan] * 3,
        [1.0, math.inf, 2.0],
    ],
)
def test_a_row_that_is_not_numbers_gives_no_token(
    settings: dict[str, Any], logits: list[float]
) -> None:
    sampler = Sampler(vocab_of(3), Sampling(**settings))
    with pytest.raises(LogitsError, match="not numbers"):
        sampler(np.array(logits, np.float32))


def test_the_row_is_left_as_it_is() -> None:
    row = row_of(*PROBABILITIES)
    before = row.copy()
    draws(row, 5, temperature=0.5, logit_bias={0: 3.0}, repeat_penalty=1.5)
    assert np.array_equal(row, before)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_k": 2**31},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_p": math.nan},
        {"min_p": 1.1},
        {"min_p": math.nan},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": math.nan},
        {"frequency_penalty": math.inf},
        {"presence_penalty": 101.0},
        {"repeat_last_n": -1},
        {"dry_multiplier": -1.0},
        {"dry_base": 0.5},
        {"dry_allowed_length": 0},
        {"dry_last_n": -1},
        {"logit_bias": {3: math.nan}},
        {"logit_bias": {3: 1e7}},
        {"seed": -1},
        {"seed": 2**32 - 1},  # llama.cpp would draw one of its own
    ],
)
def test_an_impossible_setting_is_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Sampling(**settings)


@pytest.mark.parametrize("token", [-1, 3, 2**32])
def test_a_bias_for_a_token_that_does_not_exist_is_refused(token: int) -> None:
    with pytest.raises(UsageError, match=f"token {token}"):
        Sampler(vocab_of(3), Sampling(logit_bias={token: 1.0}))


def test_closing_twice_is_fine_and_a_closed_sampler_draws_nothing() -> None:
    sampler = Sampler(vocab_of(3), Sampling(temperature=1.0))
    sampler.close()
    sampler.close()
    with pytest.raises(EngineError, match="closed"):
        sampler(np.zeros(3, np.float32))
    Sampler(vocab_of(3), Sampling()).close()


def test_a_closed_chain_accepts_nothing() -> None:
    chain = SamplerChain(3)
    chain.add_greedy()
    with pytest.raises(EngineError, match="outside the vocabulary"):
        chain.accept(3)
    chain.close()
    with pytest.raises(EngineError, match="closed"):
        chain.accept(0)


def test_a_chain_that_does_not_choose_is_an_error() -> None:
    chain = SamplerChain(3)
    chain.add_top_k(2)
    with pytest.raises(EngineError, match="chose no token"):
        chain.pick(np.zeros(3, np.float32))


def test_settings_are_greedy_unless_asked() -> None:
    assert Sampling().temperature == 0.0
    assert not Sampling().penalises
    assert Sampling(dry_multiplier=0.5).penalises
