"""Intervals and paired comparisons: the figures of others, and what they say in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeproxy.measure.compare import compare, interval, mcnemar, p_in_words, share_in_words

ANSWERED = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_is_wilson_s(share: tuple[int, int]) -> None:
    right, n = share
    theirs = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert interval(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    low, high = interval(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert low < high


@pytest.mark.parametrize(("right", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_what_is_no_share_has_no_interval(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        interval(right, n)


@given(ANSWERED)
def test_pairs_are_compared_by_an_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    only_one, only_other = pairs.count((True, False)), pairs.count((False, True))
    theirs = 1.0
    if only_one + only_other:
        theirs = stats.binomtest(only_one, only_one + only_other).pvalue
    assert mcnemar(one, other) == pytest.approx(theirs)
    assert mcnemar(other, one) == mcnemar(one, other)


def test_questions_that_both_answer_alike_say_nothing() -> None:
    one, other = [True] * 6 + [False], [False] * 6 + [True]
    p = mcnemar(one, other)
    assert p == pytest.approx(0.125)
    assert mcnemar(one + [True] * 500, other + [True] * 500) == p
    assert mcnemar([], []) == 1.0


def test_a_long_run_of_questions_is_no_trouble() -> None:
    one, other = [True, False] * 5000, [False, True] * 5000
    assert mcnemar(one, other) == 1.0
    assert mcnemar([True] * 10_000, [False] * 10_000) == 0.0


def test_systems_of_other_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_fifty_five_against_fifty_of_sixty_is_not_called_better() -> None:
    one = [True] * 33 + [False] * 27
    other = [True] * 25 + [False] * 8 + [True] * 5 + [False] * 22
    found = compare("proxy", one, "expert", other)
    assert found.better is None
    assert found.in_words() == (
        "proxy 55% [42, 67] against expert 50% [38, 62] of 60: no difference that these questions "
        "can show (p = 0.58)"
    )


def test_the_better_one_is_named_whichever_comes_first() -> None:
    much, little = [True] * 40, [True] * 20 + [False] * 20
    for found in (compare("a", much, "b", little), compare("b", little, "a", much)):
        assert found.better == "a"
        assert found.in_words().endswith(" of 40: a is better (p < 0.001)")
    assert (found.only_one, found.only_other) == (0, 20)


def test_figures_in_words() -> None:
    assert share_in_words(0, 10) == "0% [0, 28]"
    assert share_in_words(10, 10) == "100% [72, 100]"
    assert [p_in_words(p) for p in (0.0001, 0.0123, 0.0504, 0.25, 1.0)] == [
        "p < 0.001",
        "p = 0.012",
        "p = 0.050",
        "p = 0.25",
        "p = 1.00",
    ]
