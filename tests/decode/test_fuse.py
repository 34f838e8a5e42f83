"""The equation against itself in float64, and its defined edge cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproxy.align import LACKING
from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import Offset, check_alpha, check_plausibility, fuse
from edgeproxy.errors import LogitsError, UsageError

WIDTH = 7
logit = st.floats(-50.0, 50.0, width=32)


@st.composite
def three(draw: st.DrawFn) -> tuple[Logits, Logits, Logits]:
    n = draw(st.integers(1, 3))
    block = st.lists(logit, min_size=n * WIDTH, max_size=n * WIDTH)
    base, expert, anti = (np.array(draw(block), np.float32).reshape(n, WIDTH) for _ in range(3))
    return base, expert, anti


def equation(base: Logits, expert: Logits, anti: Logits, alpha: float) -> NDArray[np.float64]:
    b, e, a = (row.astype(np.float64) for row in (base, expert, anti))
    return b + alpha * (e - a)


def softmax(row: Logits) -> NDArray[np.float64]:
    powers = np.exp(row.astype(np.float64) - row.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def random_rows(*shape: int, seed: int = 0) -> Logits:
    return np.random.default_rng(seed).normal(0, 4, shape).astype(np.float32)


@given(three(), st.floats(-4.0, 4.0))
def test_fused_rows_equal_the_equation(rows: tuple[Logits, Logits, Logits], alpha: float) -> None:
    base, expert, anti = rows
    fused = fuse(base, [Offset(expert, anti, alpha)])
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, equation(base, expert, anti, alpha), rtol=1e-5, atol=1e-4)


@given(three(), st.floats(0.0, 1.0))
def test_alpha_zero_is_exactly_the_base_whatever_the_mask(
    rows: tuple[Logits, Logits, Logits], beta: float
) -> None:
    base, expert, anti = rows
    assert np.array_equal(fuse(base, [Offset(expert, anti, 0.0)], beta), base)
    assert np.array_equal(fuse(base, [], beta), base)


@given(three(), st.floats(-4.0, 4.0))
def test_an_expert_that_is_the_anti_expert_changes_nothing(
    rows: tuple[Logits, Logits, Logits], alpha: float
) -> None:
    base, expert, _ = rows
    assert np.array_equal(fuse(base, [Offset(expert, expert.copy(), alpha)]), base)


@given(three(), st.sampled_from([1.0, 0.5, 0.1, 0.03, 1e-3, 1e-9, 5e-324]))
def test_the_mask_keeps_exactly_what_the_expert_finds_plausible(
    rows: tuple[Logits, Logits, Logits], beta: float
) -> None:
    base, expert, anti = rows
    fused = fuse(base, [Offset(expert, anti, 1.0)], beta)
    ratio = expert.astype(np.float64) - expert.max(axis=-1, keepdims=True) - math.log(beta)
    kept = np.isfinite(fused)
    # Float32 may decide either way only where the two sides of the inequality are equal to it.
    certain = (np.abs(ratio) > 1e-4) | (ratio == 0.0)
    assert np.array_equal(kept[certain], (ratio >= 0.0)[certain])
    plain = fuse(base, [Offset(expert, anti, 1.0)])
    assert np.array_equal(fused[kept], plain[kept])
    assert np.all(fused[~kept] == -np.inf)


def test_the_mask_is_about_probabilities_of_the_expert() -> None:
    expert = random_rows(2, 500, seed=1)
    fused = fuse(random_rows(2, 500), [Offset(expert, random_rows(2, 500, seed=2), 1.0)], 0.03)
    p = softmax(expert)
    assert np.array_equal(np.isfinite(fused), p >= 0.03 * p.max(axis=-1, keepdims=True))
    assert 0 < np.isfinite(fused).sum() < fused.size


@given(three(), three(), st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_several_pairs_add_up(first: Any, second: Any, alpha: float, other: float) -> None:
    n = min(len(first[0]), len(second[0]))
    base, *pair = (row[:n] for row in first)
    _, *another = (row[:n] for row in second)
    fused = fuse(base, [Offset(pair[0], pair[1], alpha), Offset(another[0], another[1], other)])
    wanted = equation(base, pair[0], pair[1], alpha)
    wanted += equation(np.zeros_like(base), another[0], another[1], other)
    np.testing.assert_allclose(fused, wanted, rtol=1e-5, atol=1e-4)


def test_with_several_pairs_one_expert_is_enough_to_keep_a_token() -> None:
    base = np.zeros(4, np.float32)
    likes_0 = np.array([20, 0, 0, 0], np.float32)
    likes_1 = np.array([0, 20, 0, 0], np.float32)
    fused = fuse(base, [Offset(likes_0, base, 1.0), Offset(likes_1, base, 1.0)], 0.5)
    assert np.isfinite(fused).tolist() == [True, True, False, False]


def test_a_pair_with_alpha_zero_does_not_mask() -> None:
    base = np.zeros(4, np.float32)
    likes_0 = np.array([20, 0, 0, 0], np.float32)
    likes_1 = np.array([0, 20, 0, 0], np.float32)
    fused = fuse(base, [Offset(likes_0, base, 1.0), Offset(likes_1, base, 0.0)], 0.5)
    assert np.isfinite(fused).tolist() == [True, False, False, False]


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_in_place_is_the_same_and_leaves_the_pair_alone(alpha: float, beta: float) -> None:
    base, expert, anti = random_rows(3, 3, 50)
    fresh = fuse(base, [Offset(expert, anti, alpha)], beta)
    expert_before, anti_before = expert.copy(), anti.copy()
    target = base.copy()
    assert fuse(target, [Offset(expert, anti, alpha)], beta, out=target) is target
    assert np.array_equal(target, fresh)
    other = np.full_like(base, 99.0)
    before = base.copy()
    assert fuse(base, [Offset(expert, anti, alpha)], beta, out=other) is other
    assert np.array_equal(other, fresh)
    assert np.array_equal(base, before)
    assert np.array_equal(expert, expert_before)
    assert np.array_equal(anti, anti_before)


def test_one_row_alone_may_be_fused() -> None:
    base, expert, anti = random_rows(3, 20)
    both = [Offset(expert, anti, 1.0)]
    assert np.array_equal(
        fuse(base, both), fuse(base[None], [Offset(expert[None], anti[None], 1)])[0]
    )


@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_nan_anywhere_is_an_error(who: int, alpha: float, beta: float) -> None:
    three = random_rows(3, 2, 20)
    three[who, 1, 7] = np.nan
    if who != 1:
        three[1, 1, 7] = 30.0  # plausible, so that the mask does not hide it
    with pytest.raises(LogitsError, match="not numbers"):
        fuse(three[0], [Offset(three[1], three[2], alpha)], beta)


def test_a_nan_of_the_base_is_an_error_without_a_pair_too() -> None:
    base = random_rows(2, 20)
    base[1, 3] = np.nan
    with pytest.raises(LogitsError):
        fuse(base, [])


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_a_row_without_a_finite_largest_is_an_error(value: float) -> None:
    base = np.full((1, 5), value, np.float32)
    with pytest.raises(LogitsError):
        fuse(base, [Offset(random_rows(1, 5), random_rows(1, 5, seed=1), 1.0)])


def test_an_alpha_too_large_for_float32_is_a_clear_error() -> None:
    base, expert, anti = random_rows(3, 1, 5)
    for alpha in (1e38, 1e39, 1e300):
        with pytest.raises(LogitsError, match="lower alpha"):
            fuse(base, [Offset(expert, anti, alpha)])


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_token_that_the_pair_lacks_has_offset_zero(beta: float) -> None:
    base, expert, anti = random_rows(3, 1, 6)
    expert[:, 4:] = anti[:, 4:] = LACKING
    fused = fuse(base, [Offset(expert, anti, 1.5)], beta)
    assert not np.isnan(fused).any()
    if beta:
        assert np.all(fused[:, 4:] == -np.inf)
    else:
        assert np.array_equal(fused[:, 4:], base[:, 4:])


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -math.inf])
def test_alpha_must_be_finite(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha must be a finite number"):
        check_alpha(alpha)


@pytest.mark.parametrize("beta", [math.nan, -0.01, 1.01, math.inf])
def test_plausibility_must_be_a_share(beta: float) -> None:
    with pytest.raises(UsageError, match="plausibility must be between 0"):
        check_plausibility(beta)


def test_possible_values_pass_through() -> None:
    assert [check_alpha(a) for a in (-1.0, 0.0, 2.5)] == [-1.0, 0.0, 2.5]
    assert [check_plausibility(b) for b in (0.0, 0.03, 1.0)] == [0.0, 0.03, 1.0]
