"""The equation against itself in float64, and its defined edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproxy.align import LACKING
from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import LogitsError

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
    fused = fuse(base, expert, anti, Steering(alpha))
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, equation(base, expert, anti, alpha), rtol=1e-5, atol=1e-4)


@given(three(), st.floats(0.0, 1.0))
def test_alpha_zero_is_exactly_the_base_whatever_the_mask(
    rows: tuple[Logits, Logits, Logits], beta: float
) -> None:
    base, expert, anti = rows
    assert np.array_equal(fuse(base, expert, anti, Steering(0.0, plausibility=beta)), base)


@given(three(), st.floats(-4.0, 4.0))
def test_an_expert_that_is_the_anti_expert_changes_nothing(
    rows: tuple[Logits, Logits, Logits], alpha: float
) -> None:
    base, expert, _ = rows
    assert np.array_equal(fuse(base, expert, expert.copy(), Steering(alpha)), base)


@given(three(), st.sampled_from([1.0, 0.5, 0.1, 0.03, 1e-3, 1e-9, 5e-324]))
def test_the_mask_keeps_exactly_what_the_expert_finds_plausible(
    rows: tuple[Logits, Logits, Logits], beta: float
) -> None:
    base, expert, anti = rows
    fused = fuse(base, expert, anti, Steering(plausibility=beta))
    ratio = expert.astype(np.float64) - expert.max(axis=-1, keepdims=True) - math.log(beta)
    kept = np.isfinite(fused)
    # Float32 may decide either way only where the two sides of the inequality are equal to it.
    certain = (np.abs(ratio) > 1e-4) | (ratio == 0.0)
    assert np.array_equal(kept[certain], (ratio >= 0.0)[certain])
    plain = fuse(base, expert, anti)
    assert np.array_equal(fused[kept], plain[kept])
    assert np.all(fused[~kept] == -np.inf)


def test_the_mask_is_about_probabilities_of_the_expert() -> None:
    expert = random_rows(2, 500, seed=1)
    fused = fuse(
        random_rows(2, 500), expert, random_rows(2, 500, seed=2), Steering(plausibility=0.03)
    )
    p = softmax(expert)
    assert np.array_equal(np.isfinite(fused), p >= 0.03 * p.max(axis=-1, keepdims=True))
    assert 0 < np.isfinite(fused).sum() < fused.size


@given(three(), st.floats(0.125, 4.0), st.floats(2**-10, 1.0, width=32))
def test_the_weight_of_the_base_is_the_anti_experts_too(
    rows: tuple[Logits, Logits, Logits], alpha: float, weight: float
) -> None:
    base, expert, anti = rows
    b, e, a = (row.astype(np.float64) for row in rows)
    fused = fuse(base, expert, anti, Steering(alpha, weight))
    np.testing.assert_allclose(fused, weight * b + alpha * (e - weight * a), rtol=1e-5, atol=1e-4)


@given(three())
def test_weight_zero_is_exactly_the_expert(rows: tuple[Logits, Logits, Logits]) -> None:
    assert np.array_equal(fuse(*rows, Steering(base_weight=0.0)), rows[1])


@given(three(), st.floats(-4.0, 4.0), st.sampled_from([0.0, 0.1]))
def test_a_weight_of_one_changes_no_bit(
    rows: tuple[Logits, Logits, Logits], alpha: float, beta: float
) -> None:
    base, expert, anti = rows
    difference = expert - anti
    if alpha != 1.0:
        difference *= np.float32(alpha)
    wanted = difference + base if alpha else base
    if beta and alpha:
        lowest = expert.max(axis=-1, keepdims=True) + np.float32(math.log(beta))
        wanted[expert < lowest] = -np.inf
    for weight in (1.0, 1):
        fused = fuse(base, expert, anti, Steering(alpha, weight, beta))
        assert fused.tobytes() == wanted.tobytes()


@given(three(), st.sampled_from([0.5, 1.0]), st.sampled_from([0.25, 1.0]))
def test_rows_at_once_are_fused_as_each_alone(
    rows: tuple[Logits, Logits, Logits], alpha: float, weight: float
) -> None:
    steering = Steering(alpha, weight, 0.1)
    together = fuse(*rows, steering)
    for n in range(len(together)):
        base, expert, anti = (row[n] for row in rows)
        assert np.array_equal(together[n], fuse(base, expert, anti, steering))


@given(
    three(),
    st.floats(0.125, 4.0, width=32),
    st.floats(2**-10, 0.9375, width=32),
    st.lists(st.booleans(), min_size=WIDTH, max_size=WIDTH).filter(lambda has: not all(has)),
)
def test_a_token_that_the_pair_lacks_never_leads_where_the_expert_counts(
    rows: tuple[Logits, Logits, Logits], alpha: float, weight: float, lacks: list[bool]
) -> None:
    base, expert, anti = rows
    for row in (expert, anti):
        row -= np.log(np.exp(row).sum(axis=-1, keepdims=True))
        row[:, lacks] = LACKING
    fused = fuse(base, expert, anti, Steering(alpha, weight))
    assert not np.isin(fused.argmax(axis=-1), np.flatnonzero(lacks)).any()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_in_place_is_the_same_and_leaves_the_pair_alone(alpha: float, beta: float) -> None:
    base, expert, anti = random_rows(3, 3, 50)
    fresh = fuse(base, expert, anti, Steering(alpha, plausibility=beta))
    expert_before, anti_before = expert.copy(), anti.copy()
    target = base.copy()
    assert fuse(target, expert, anti, Steering(alpha, plausibility=beta), out=target) is target
    assert np.array_equal(target, fresh)
    other = np.full_like(base, 99.0)
    before = base.copy()
    assert fuse(base, expert, anti, Steering(alpha, plausibility=beta), out=other) is other
    assert np.array_equal(other, fresh)
    assert np.array_equal(base, before)
    assert np.array_equal(expert, expert_before)
    assert np.array_equal(anti, anti_before)


def test_one_row_alone_may_be_fused() -> None:
    base, expert, anti = random_rows(3, 20)
    together = fuse(base[None], expert[None], anti[None])
    assert np.array_equal(fuse(base, expert, anti), together[0])


@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_nan_anywhere_is_an_error(who: int, alpha: float, beta: float) -> None:
    three = random_rows(3, 2, 20)
    three[who, 1, 7] = np.nan
    if who != 1:
        three[1, 1, 7] = 30.0  # plausible, so that the mask does not hide it
    with pytest.raises(LogitsError, match="not numbers"):
        fuse(three[0], three[1], three[2], Steering(alpha, plausibility=beta))


def test_a_nan_of_the_base_is_an_error_without_a_pair_too() -> None:
    base = random_rows(2, 20)
    base[1, 3] = np.nan
    with pytest.raises(LogitsError):
        fuse(base, base, base, Steering(0.0))


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_a_row_without_a_finite_largest_is_an_error(value: float) -> None:
    base = np.full((1, 5), value, np.float32)
    with pytest.raises(LogitsError):
        fuse(base, random_rows(1, 5), random_rows(1, 5, seed=1))


def test_an_alpha_too_large_for_float32_is_a_clear_error() -> None:
    base, expert, anti = random_rows(3, 1, 5)
    for alpha in (1e38, 1e39, 1e300):
        with pytest.raises(LogitsError, match="lower alpha"):
            fuse(base, expert, anti, Steering(alpha))


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_token_that_the_pair_lacks_has_offset_zero(beta: float) -> None:
    base, expert, anti = random_rows(3, 1, 6)
    expert[:, 4:] = anti[:, 4:] = LACKING
    fused = fuse(base, expert, anti, Steering(1.5, plausibility=beta))
    assert not np.isnan(fused).any()
    if beta:
        assert np.all(fused[:, 4:] == -np.inf)
    else:
        assert np.array_equal(fused[:, 4:], base[:, 4:])
