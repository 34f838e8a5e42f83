"""The pair's opinion as a bias: what a server that adds it would draw is what fusing draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgeproxy.decode.bias import LIFT, MOST, Bias, bias_of, check_steering
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import LogitsError, UsageError

N = 40
rows = arrays(np.float32, N, elements=st.floats(-6, 6, width=32))
alphas = st.floats(-3, 3).filter(lambda alpha: alpha != 0)


def softmax(row: Any) -> NDArray[np.float64]:
    row = np.asarray(row, np.float64)
    row = np.exp(row - row.max())
    out: NDArray[np.float64] = row / row.sum()
    return out


def added(base: Any, bias: Bias) -> NDArray[np.float64]:
    """What a server's row is with the bias."""
    out: NDArray[np.float64] = np.asarray(base, np.float64).copy()
    out[bias.tokens] += bias.values
    return out


def fused(base: Any, expert: Any, anti: Any, alpha: float, beta: float = 0.0) -> Any:
    return fuse(base[None], expert[None], anti[None], Steering(alpha, 1.0, beta))[0]


@given(rows, rows, rows, alphas)
def test_where_all_tokens_are_sent_it_is_the_fused_distribution(
    base: Any, expert: Any, anti: Any, alpha: float
) -> None:
    bias = bias_of(expert, anti, Steering(alpha))
    assert len(bias.tokens) == N
    assert bias.cut == 0
    wanted = softmax(fused(base, expert, anti, alpha))
    assert softmax(added(base, bias)) == pytest.approx(wanted, abs=1e-5)


@given(rows, rows, rows, alphas, st.integers(1, N - 1))
def test_tokens_that_are_sent_keep_their_order_whatever_the_rest(
    base: Any, expert: Any, anti: Any, alpha: float, most: int
) -> None:
    bias = bias_of(expert, anti, Steering(alpha), most)
    assert len(bias.tokens) == len(set(bias.tokens)) == most
    there, here = added(base, bias), fused(base, expert, anti, alpha)
    # All that is sent is off by the same number.
    assert np.ptp(there[bias.tokens] - here[bias.tokens]) < 1e-3
    # What is sent is what either of the pair finds likeliest.
    likeliest = np.maximum(np.log(softmax(expert)), np.log(softmax(anti)))
    unsent = np.setdiff1d(np.arange(N), bias.tokens)
    assert likeliest[bias.tokens].min() >= likeliest[unsent].max() - 1e-6


@given(rows, rows, st.floats(0.1, 3), st.integers(1, N - 1))
def test_all_others_share_what_the_pair_says_of_them_together(
    expert: Any, anti: Any, alpha: float, most: int
) -> None:
    bias = bias_of(expert, anti, Steering(alpha), most)
    unsent = np.setdiff1d(np.arange(N), bias.tokens)
    share = np.log(softmax(expert)[unsent].sum()) - np.log(softmax(anti)[unsent].sum())
    says = np.log(softmax(expert)) - np.log(softmax(anti))
    wanted = alpha * (says[bias.tokens] - share)
    assert bias.values == pytest.approx(wanted, abs=1e-3)


@given(rows, rows, rows, st.floats(0.05, 1.0), st.floats(0.1, 2))
def test_with_a_mask_only_plausible_tokens_can_be_drawn(
    base: Any, expert: Any, anti: Any, beta: float, alpha: float
) -> None:
    bias = bias_of(expert, anti, Steering(alpha, plausibility=beta))
    plausible = np.log(softmax(expert)) >= np.log(softmax(expert)).max() + np.log(beta)
    near = np.abs(np.log(softmax(expert)) - np.log(softmax(expert)).max() - np.log(beta)) < 1e-5
    assert {*bias.tokens} ^ {*np.flatnonzero(plausible)} <= {*np.flatnonzero(near)}
    chances = softmax(added(base, bias))
    unsent = np.setdiff1d(np.arange(N), bias.tokens)
    # Logits here differ by 12 at most, and the pair's opinion by 24.
    assert chances[unsent].sum() < N * np.exp(12 + 24 * alpha - LIFT)
    wanted = softmax(fused(base, expert, anti, alpha, beta))
    if not near.any():
        assert chances[bias.tokens] == pytest.approx(wanted[bias.tokens], abs=1e-4)


def test_a_pair_that_speaks_against_all_that_is_plausible_does_not_undo_the_mask() -> None:
    base, expert, anti = (np.zeros(4, np.float32) for _ in range(3))
    base[0], expert[1], anti[1] = 50, 0.01, 20
    steering = Steering(12.0, plausibility=1.0)
    bias = bias_of(expert, anti, steering)
    assert int(fused(base, expert, anti, 12.0, 1.0).argmax()) == 1
    assert int(added(base, bias).argmax()) == 1


@given(rows, rows, st.floats(0.5, 3), st.floats(0.1, 10))
def test_a_limit_cuts_values_and_is_told(
    expert: Any, anti: Any, alpha: float, largest: float
) -> None:
    free = bias_of(expert, anti, Steering(alpha))
    bound = bias_of(expert, anti, Steering(alpha), largest=largest)
    assert bound.tokens == free.tokens
    assert bound.cut == sum(abs(value) > largest for value in free.values)
    assert bound.values == [min(max(value, -largest), largest) for value in free.values]


def test_alpha_0_is_no_bias() -> None:
    assert bias_of(np.zeros(4, np.float32), np.ones(4, np.float32), Steering(0.0)) == ([], [], 0, 0)


def test_no_more_are_sent_than_usual_nor_what_is_negligible() -> None:
    many = np.zeros(5000, np.float32)
    bias = bias_of(many, many, Steering())
    assert (len(bias.tokens), bias.left_out) == (MOST, len(many) - MOST)
    row = np.full(50, -30.0, np.float32)
    row[:5] = 0
    assert bias_of(row, row, Steering()).tokens == [0, 1, 2, 3, 4]
    other = np.roll(row, 5)
    assert bias_of(row, other, Steering()).tokens == list(range(10))


def test_a_pair_that_agrees_says_nothing() -> None:
    row = np.linspace(0, 5, N).astype(np.float32)
    assert bias_of(row, row, Steering(2.0), 10).values == pytest.approx([0.0] * 10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("who", ["expert", "anti"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rows_that_are_not_numbers_are_an_error(
    value: float, place: int, who: str, beta: float
) -> None:
    good, bad = np.zeros(4, np.float32), np.zeros(4, np.float32)
    bad[place] = value
    pair = (bad, good) if who == "expert" else (good, bad)
    with pytest.raises(LogitsError, match="not numbers"):
        bias_of(*pair, Steering(plausibility=beta))


def test_rows_without_a_finite_number_are_an_error() -> None:
    nothing = np.full(4, -np.inf, np.float32)
    with pytest.raises(LogitsError, match="not numbers"):
        bias_of(nothing, np.zeros(4, np.float32), Steering())


@pytest.mark.parametrize("base_weight", [0.0, 0.5])
def test_a_steering_that_scales_the_base_is_refused(base_weight: float) -> None:
    row, steering = np.zeros(4, np.float32), Steering(base_weight=base_weight)
    with pytest.raises(UsageError, match="steered with base_weight 1;"):
        check_steering(steering)
    with pytest.raises(UsageError, match="log-probabilities takes any"):
        bias_of(row, row, steering)
    check_steering(Steering(1.5, plausibility=0.1))
