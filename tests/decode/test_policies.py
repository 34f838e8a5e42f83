"""Each policy's formula against itself in float64, and that drafts change nothing under any."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.policies import LARGEST_ALPHA, SURE, Said, mix_of
from edgeproxy.decode.steering import Policy, Steering

POLICIES: tuple[Policy, ...] = get_args(Policy)
WIDTH = 6
logit = st.floats(-20.0, 20.0, width=32)


@st.composite
def heard(draw: st.DrawFn) -> Said:
    """A pair with a vocabulary of its own, one token larger than the base's."""
    count = draw(st.integers(1, 3))

    def rows(width: int) -> Logits:
        block = st.lists(logit, min_size=count * width, max_size=count * width)
        return np.array(draw(block), np.float32).reshape(count, width)

    return Said(*map(rows, (WIDTH, WIDTH, WIDTH, WIDTH + 1, WIDTH + 1)))


def softmax(rows: Logits) -> NDArray[np.float64]:
    powers = np.exp(rows.astype(np.float64) - rows.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def divergence(left: Logits, right: Logits) -> NDArray[np.float64]:
    p, q = softmax(left), softmax(right)
    return np.asarray((p * np.log(p / q)).sum(axis=-1, keepdims=True))


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)


@given(heard())
def test_constant_is_what_was_given(said: Said) -> None:
    assert mix_of(Steering(2.0, 0.5, 0.1), said) == (2.0, 0.5, 0.1)


@given(heard(), st.floats(0.25, 1.0))
def test_unchanged_is_one_less_the_total_variation(said: Said, weight: float) -> None:
    mix = mix_of(Steering(1.5, weight, 0.1, "unchanged"), said)
    apart = np.abs(softmax(said.own_expert) - softmax(said.own_anti_expert)).sum(-1, keepdims=True)
    close(mix.base_weight, weight * (1.0 - apart / 2.0))
    assert (mix.alpha, mix.plausibility) == (1.5, 0.1)


def test_tokens_that_only_the_expert_has_are_what_tuning_changed() -> None:
    rows = np.zeros((1, 4), np.float32)
    sure_of_the_new = np.array([[0, 0, 0, 0, 30]], np.float32)
    mix = mix_of(Steering(policy="unchanged"), Said(rows, rows, rows, sure_of_the_new, rows))
    close(mix.base_weight, 0.0)


@given(heard(), st.floats(0.25, 1.0))
def test_unsure_is_the_root_of_what_the_expert_gives_to_others(said: Said, weight: float) -> None:
    mix = mix_of(Steering(1.0, weight, policy="unsure"), said)
    rest = 1.0 - softmax(said.own_expert).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(mix.base_weight, weight * rest**0.25, atol=0.02)


@given(heard(), st.floats(0.25, 2.0))
def test_dynamic_moves_the_base_as_far_as_the_pair_has_moved(said: Said, alpha: float) -> None:
    found = mix_of(Steering(alpha, policy="dynamic"), said)
    assert found.base_weight == 1.0
    chosen = np.asarray(found.alpha, np.float64) / alpha
    wanted = divergence(said.own_expert, said.own_anti_expert)
    offset = said.expert.astype(np.float64) - said.anti_expert

    def moved(by: NDArray[np.float64]) -> NDArray[np.float64]:
        return divergence((said.base + by * offset).astype(np.float64), said.base)

    step = LARGEST_ALPHA / 1000
    assert np.all((chosen >= 0.0) & (chosen <= LARGEST_ALPHA))
    # Float32 may be on either side of what is as good as equal.
    assert np.all(moved(np.maximum(chosen - step, 0.0)) <= wanted + 1e-3)
    assert np.all((moved(chosen + step) >= wanted - 1e-3) | (chosen > LARGEST_ALPHA - 2 * step))


@given(heard())
def test_nudge_is_the_expert_where_the_base_is_unsure_and_else_the_base(said: Said) -> None:
    mix = mix_of(Steering(policy="nudge"), said)
    fused = fuse(said.base, said.expert, said.anti_expert, mix)
    sure = softmax(said.base).max(axis=-1)
    for n in range(len(fused)):
        if abs(sure[n] - SURE) > 1e-5:
            who = said.base if sure[n] > SURE else said.expert
            assert np.array_equal(fused[n], who[n])


@given(heard(), st.sampled_from(POLICIES))
def test_rows_at_once_are_weighed_as_each_alone(said: Said, policy: Policy) -> None:
    steering = Steering(1.5, 0.75, 0.1, policy)
    together = fuse(*said[:3], mix_of(steering, said))
    for n in range(len(together)):
        alone = Said(*(rows[n : n + 1] for rows in said))
        assert np.array_equal(fuse(*alone[:3], mix_of(steering, alone))[0], together[n])


@given(heard(), st.sampled_from(["constant", "unchanged", "dynamic"]))
def test_where_tuning_changed_nothing_the_base_speaks(said: Said, policy: Policy) -> None:
    same = said._replace(anti_expert=said.expert, own_anti_expert=said.own_expert)
    fused = fuse(*same[:3], mix_of(Steering(policy=policy), same))
    assert np.array_equal(fused, said.base)


@given(heard(), st.sampled_from(POLICIES))
def test_a_constant_added_to_a_row_changes_no_weight(said: Said, policy: Policy) -> None:
    steering = Steering(policy=policy)
    before = mix_of(steering, said)
    after = mix_of(steering, Said(*(rows + np.float32(n) for n, rows in enumerate(said))))
    close(after.alpha, before.alpha)
    np.testing.assert_allclose(after.base_weight, before.base_weight, atol=0.02)
