"""Defaults by model and examples, what is refused, and how the rate rises and falls."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.tune.settings import Settings, default_epochs, default_rate, rate_share


def test_a_wider_model_learns_more_slowly_within_bounds() -> None:
    rates = [default_rate(width) for width in (64, 576, 896, 1536, 2560, 100_000)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == (1e-3, 2e-4)
    assert rates[1:3] == [9.4e-4, 7.6e-4]


@pytest.mark.parametrize(("n", "epochs"), [(0, 10), (1, 10), (100, 4), (420, 2), (100_000, 1)])
def test_fewer_examples_are_seen_more_often(n: int, epochs: int) -> None:
    assert default_epochs(n) == epochs


def test_what_is_given_stays() -> None:
    found = Settings.fitting(420, 576, epochs=7, rate=None, seed=3)
    assert (found.epochs, found.rate, found.seed, found.batch) == (7, 9.4e-4, 3, 8)
    assert Settings.fitting(5_000, 576).batch == 16
    assert Settings.fitting(50_000, 576).batch == 32
    assert Settings(rank=8).alpha == 16


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"rate": 0},
        {"rate": float("nan")},
        {"rate": 2},
        {"rank": 0},
        {"rank": 5000},
        {"seed": -1},
        {"batch": 0},
        {"minutes": 0},
        {"minutes": float("inf")},
        {"threads": 0},
        {"dtype": "float16"},
        {"micro_tokens": 0},
    ],
    ids=str,
)
def test_an_impossible_value_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Settings(**wrong)


def test_what_decides_the_result_leaves_out_what_does_not() -> None:
    assert Settings(minutes=3, threads=2, dtype="float32").deciding() == Settings().deciding()
    assert Settings(seed=1).deciding() != Settings().deciding()


@pytest.mark.parametrize("steps", [1, 2, 3, 17, 160])
def test_the_rate_rises_and_falls_to_nothing(steps: int) -> None:
    shares = [rate_share(step, steps) for step in range(steps)]
    top = shares.index(max(shares))
    assert all(0 < share <= 1 for share in shares)
    assert max(shares) > 0.9
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert rate_share(steps, steps) == 0
    assert top <= max(1, 0.07 * steps)


def test_fewer_steps_end_the_fall_earlier() -> None:
    assert rate_share(50, 100) > rate_share(50, 60.5) > rate_share(50, 50.2) >= 0
