"""When llama.cpp and PyTorch agree about an adapter: on logits made up for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeproxy.tune.agreement import ABSOLUTE, Agreement, Rows, agreement, plausible

SHAPE = (60, 100)
SPREAD, EFFECT, ROUNDING = 2.0, 2.5, 0.15
"""As of a quantised model of 135 million parameters, tuned for a few minutes."""


def noise(size: float, seed: int, shape: tuple[int, int] = SHAPE) -> Rows:
    rows: Rows = np.random.default_rng(seed).normal(0.0, size, shape).astype(np.float32)
    return rows


def compared(
    *, share: float = 1.0, rounding: float = ROUNDING, effect: float = EFFECT, other: float = 0.0
) -> Agreement:
    """llama.cpp adds `share` of what PyTorch does, and something of the size `other` of its own."""
    untuned, added = noise(SPREAD, 1), noise(effect, 2)
    tuned = untuned + added
    theirs = (
        untuned + noise(rounding, 3),
        untuned + share * added + noise(other, 5) + noise(rounding, 4),
    )
    return agreement(theirs, (untuned, tuned))


def test_rounding_is_no_fault() -> None:
    assert [*compared().faults()] == []


def test_without_any_rounding_two_hundredths_are_no_fault() -> None:
    assert [*compared(rounding=0.0, other=0.9 * ABSOLUTE).faults()] == []
    assert [*compared(rounding=0.0, other=2 * ABSOLUTE).faults()] != []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.2, 2.0, -1.0])
def test_another_scale_is_found(share: float) -> None:
    assert [*compared(share=share).faults()] != []


def test_an_effect_of_another_kind_is_found() -> None:
    """Queries and keys in another order: a part of the effect goes, and something else comes."""
    faults = " ".join(compared(other=0.5).faults())
    assert "with the adapter llama.cpp's logits differ from PyTorch's" in faults


def test_an_effect_below_the_rounding_is_no_fault() -> None:
    """A tuning of one step changes less than quantisation does."""
    assert [*compared(effect=0.05).faults()] == []


def test_larger_logits_may_be_rounded_more() -> None:
    """Rounding grows with the logits: tuning makes them larger."""
    found = replace(compared(), spread=2.0, tuned_spread=4.0, error=3 * ROUNDING)
    assert [*found.faults()] == []
    assert [*replace(found, tuned_spread=2.0).faults()] != []


def test_another_model_is_found_before_anything_is_trained() -> None:
    untuned = noise(SPREAD, 1)
    other = noise(SPREAD, 2)
    faults = " ".join(agreement((other, other), (untuned, untuned)).faults())
    assert "without the adapter llama.cpp's logits differ from PyTorch's" in faults


def test_what_is_added_to_a_whole_row_does_not_count() -> None:
    """Softmax does not see it."""
    untuned, tuned = noise(SPREAD, 1), noise(SPREAD, 2)
    shifted = tuned + 7.0
    found = agreement((untuned, shifted), (untuned, tuned))
    assert found.error == pytest.approx(0.0, abs=1e-5)


def test_the_largest_logits_are_the_plausible_ones() -> None:
    rows = np.array([[0, 5, 1, 4], [9, 2, 3, 1]], np.float32)
    assert [sorted(row) for row in plausible(rows, 2).tolist()] == [[1, 3], [0, 2]]
    assert plausible(rows, 10).shape == (2, 4)
