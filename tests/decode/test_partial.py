"""Rows of which only the likeliest tokens are known: what is certain of the others is kept to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgeproxy.align import LACKING
from edgeproxy.core.threads import Beside, Threads
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.partial import (
    Coverage,
    bounded_rows,
    count_coverage,
    doubtful,
    least_known,
    parting,
    whole_rows,
)
from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import LogitsError, RemoteError
from tests.helpers.fakes import FakeModel, constant, word_vocab

N = 12
rows_of_n = arrays(np.float32, N, elements=st.floats(-12, 12, width=32))


def log_softmax(row: Any) -> NDArray[np.float32]:
    row = np.asarray(row, np.float64)
    row = row - row.max()
    out: NDArray[np.float32] = (row - np.log(np.exp(row).sum())).astype(np.float32)
    return out


def known_of(row: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Log-probabilities of the `k` likeliest, -inf for the others; shape (1, n)."""
    out = np.full_like(row, -np.inf)
    best = np.argsort(-row, kind="stable")[:k]
    out[best] = row[best]
    return out[None]


@given(rows_of_n, rows_of_n, st.integers(1, N - 1))
def test_known_tokens_stay_and_no_other_is_likelier(base: Any, anti: Any, k: int) -> None:
    partial = known_of(log_softmax(base), k)
    whole = whole_rows(partial, anti[None])
    known = np.isfinite(partial)
    assert np.array_equal(whole[known], partial[known])
    assert np.isfinite(whole).all()
    assert whole[~known].max() <= partial[known].min()


@given(rows_of_n, rows_of_n, st.integers(1, N - 1))
def test_the_rest_is_shared_unless_a_bound_cuts_it(base: Any, anti: Any, k: int) -> None:
    partial = known_of(log_softmax(base), k)
    whole = whole_rows(partial, anti[None])[0].astype(np.float64)
    unknown = np.isneginf(partial[0])
    rest = 1.0 - np.exp(whole[~unknown]).sum()
    least = whole[~unknown].min()
    mass = np.exp(whole[unknown]).sum()
    assert mass <= max(rest, 1e-7) + 1e-6
    if whole[unknown].max() < least - 1e-6:  # nothing was cut
        assert mass == pytest.approx(max(rest, 1e-7), rel=1e-3, abs=1e-6)
        # As the anti-expert has it: the same differences, bar what float32 rounds.
        differences = whole[unknown] - anti[unknown]
        assert np.ptp(differences) < 1e-4


def test_a_row_by_hand() -> None:
    base = np.full((1, 4), -np.inf, np.float32)
    base[0, :2] = np.log([0.5, 0.3])
    anti = np.log(np.array([[0.1, 0.1, 0.6, 0.2]])).astype(np.float32)
    whole = np.exp(whole_rows(base, anti))
    assert whole[0] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-6)
    anti = np.log(np.array([[0.1, 0.1, 0.79, 0.01]])).astype(np.float32)
    bounded = np.full((1, 4), -np.inf, np.float32)
    bounded[0, :2] = np.log([0.7, 0.1])
    # 0.2 * 79 / 80 is more than the 0.1 that is certain.
    assert np.exp(whole_rows(bounded, anti))[0] == pytest.approx([0.7, 0.1, 0.1, 0.0025], abs=1e-6)


@given(arrays(np.float32, (3, N), elements=st.floats(-50, 50, width=32)))
def test_rows_that_know_all_are_as_they_were(base: NDArray[np.float32]) -> None:
    before = base.copy()
    whole = whole_rows(base, np.zeros_like(base))
    assert np.array_equal(whole, before)
    assert whole is not base
    assert np.array_equal(base, before)


def test_only_the_rows_that_leave_something_out_are_filled() -> None:
    full = log_softmax(np.arange(N))
    both = np.concatenate([full[None], known_of(full, 3)])
    whole = whole_rows(both, np.zeros((2, N), np.float32))
    assert np.array_equal(whole[0], full)
    assert np.isfinite(whole[1]).all()


def test_tokens_that_the_pair_lacks_stay_as_good_as_impossible() -> None:
    anti = np.full((1, N), LACKING, np.float32)
    anti[0, :8] = log_softmax(np.zeros(8))
    whole = whole_rows(known_of(log_softmax(np.arange(N)[::-1]), 4), anti)
    assert np.isfinite(whole).all()
    assert whole[0, 8:].max() < whole[0, 4:8].min() - 50
    fused = fuse(whole, anti, anti)
    assert int(fused.argmax()) == 0


def test_where_the_pair_lacks_all_that_is_unknown_it_is_shared_evenly() -> None:
    anti = np.full((1, N), LACKING, np.float32)
    whole = whole_rows(known_of(log_softmax(np.arange(N)[::-1]), 4), anti)
    assert np.ptp(whole[0, 4:]) == 0
    assert np.isfinite(whole).all()


def test_a_row_that_knows_nothing_gives_no_token() -> None:
    nothing = np.full((1, N), -np.inf, np.float32)
    zeros = np.zeros((1, N), np.float32)
    whole = whole_rows(nothing, zeros)
    assert np.isneginf(whole).all()
    with pytest.raises(LogitsError):
        fuse(whole, zeros, zeros)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_anti_expert_that_is_no_number_is_an_error_afterwards(value: float) -> None:
    anti = np.zeros((1, N), np.float32)
    anti[0, -1] = value
    with np.errstate(invalid="ignore"):
        whole = whole_rows(known_of(log_softmax(np.arange(N)[::-1]), 4), anti)
        with pytest.raises(LogitsError):
            fuse(whole, np.zeros_like(anti), anti)


def test_a_rest_that_rounding_has_eaten_is_still_above_nothing() -> None:
    row = np.full((1, 4), -np.inf, np.float32)
    row[0, 0] = 5e-4  # as a server may round it
    whole = whole_rows(row, np.zeros((1, 4), np.float32))
    assert np.exp(whole[0, 1:]).sum() == pytest.approx(1e-7, rel=1e-3)


# Coverage


def test_coverage_counts_the_experts_best_tokens() -> None:
    coverage = Coverage()
    assert coverage.share is None
    base = np.concatenate([known_of(log_softmax(np.arange(N)), 3)] * 2)
    expert = np.zeros((2, N), np.float32)
    expert[0, N - 1] = expert[1, 0] = 1
    count_coverage(coverage, base, expert)
    assert coverage == Coverage(2, 1)
    assert coverage.share == 0.5
    count_coverage(coverage, base[:1], expert[:1])
    assert coverage.share == pytest.approx(2 / 3)


# In a trio


class Partial(FakeModel):
    """A base that tells no more than it has told."""

    can_look_up = False

    def widen(self, row: int) -> bool:
        return False


def three(base: Any, beside: Beside | None = None, elsewhere: bool = True) -> Trio:
    vocab = word_vocab(*(f"w{n}" for n in range(N)))
    expert = np.linspace(0, 3, N)
    said: tuple[Any, ...] = (base, expert, np.zeros(N))
    first, second, third = (Partial(constant(row), vocab=vocab) for row in said)
    return Trio(first, second, third, Steering(0.5), beside, elsewhere)


def test_a_trio_fuses_what_a_partial_base_certainly_says() -> None:
    base = log_softmax(np.arange(N)[::-1] * 0.3)
    exact = three(base, elsewhere=False).eval([1, 2]).copy()
    trio = three(known_of(base, 4)[0])
    fused = trio.eval([1, 2])
    known = np.arange(N) < 4
    assert fused[0, known] == pytest.approx(exact[0, known], abs=1e-6)
    assert np.isfinite(fused).all()
    assert trio.coverage == Coverage(1, 1)
    # What the server said is kept as it said it.
    assert np.isneginf(trio.rows.base[0, 4:]).all()


@pytest.mark.parametrize("beside", [None, Beside(Threads(2))])
def test_a_base_elsewhere_gives_the_rows_of_one_here(beside: Beside | None) -> None:
    base = log_softmax(np.arange(N))
    here, there = three(base, elsewhere=False), three(base, beside)
    for tokens, rows in (([1, 2, 3], 1), ([4, 5], 2), ([6], 1)):
        assert np.array_equal(here.eval(tokens, rows), there.eval(tokens, rows))
    here.rewind(2)
    there.rewind(2)
    assert there.n_past == 4
    assert np.array_equal(here.eval([7]), there.eval([7]))
    assert [model.n_past for model in there.models] == [5, 5, 5]


# What is asked for


class Telling(FakeModel):
    """Leaves out all but its `k` best tokens, and says what it is asked: `wider` tokens more each
    time of a row, and single ones where it `can_look_up`.
    """

    can_look_up = True
    k = 4
    wider = 0

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Any:
        self.whole = np.stack([log_softmax(row) for row in super().eval(tokens, rows)])
        self.told = np.concatenate([known_of(row, self.k) for row in self.whole])
        return self.told

    def widen(self, row: int) -> bool:
        known = int(np.isfinite(self.told[row]).sum())
        self.told[row] = known_of(self.whole[row], known + self.wider)[0]
        return bool(np.isfinite(self.told[row]).sum() > known)

    def look_up(self, row: int, token: int) -> float | None:
        return float(self.whole[row, token])


@given(rows_of_n, rows_of_n, rows_of_n, st.integers(1, N - 1))
def test_no_unknown_token_can_be_larger_than_its_bound(
    base: Any, expert: Any, anti: Any, k: int
) -> None:
    whole = log_softmax(base)[None]
    partial = known_of(whole[0], k)
    assert (bounded_rows(partial, least_known(partial)) >= whole - 1e-5).all()
    assert np.isfinite(bounded_rows(partial, least_known(partial))).all()
    # So where no unknown token could be the best one, the best one is known for certain.
    most = fuse(bounded_rows(partial, least_known(partial)), expert[None], anti[None])
    if not np.isneginf(partial[0, most.argmax()]):
        exact = fuse(whole, expert[None], anti[None])
        assert exact.max() - exact[0, most.argmax()] < 1e-4


@pytest.mark.parametrize("wider", [0, 1, 3])
@given(base=rows_of_n, expert=rows_of_n, anti=rows_of_n)
def test_the_best_token_is_that_of_all_rows_where_it_is_plausible(
    wider: int, base: Any, expert: Any, anti: Any
) -> None:
    vocab = word_vocab(*(f"w{n}" for n in range(N)))
    said = [FakeModel(constant(row), vocab=vocab) for row in (base, expert, anti)]
    asked = Telling(constant(base), vocab=vocab)
    asked.wider = wider
    asked.can_look_up = not wider
    # With the mask only tokens count that are asked for, as many as there are.
    steering = Steering(plausibility=0.01)
    exact = Trio(said[0], said[1], said[2], steering).eval([1]).copy()
    trio = Trio(asked, said[1], said[2], steering, elsewhere=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeproxy.decode.told.ASKED", N)
        fused = trio.eval([1])
    assert exact[0].max() - exact[0, fused[0].argmax()] < 1e-3
    assert not (trio.coverage.asked if wider else trio.coverage.widened)


def doubting(wider: int, steering: Steering = PAPER) -> tuple[Trio, Any]:
    """A trio whose expert favours what the base finds least likely, and its exact row."""
    vocab = word_vocab(*(f"w{n}" for n in range(N)))
    of_base: Any = log_softmax(np.arange(N)[::-1] * 0.5)
    of_expert: Any = 20.0 * np.eye(N, dtype=np.float32)[N - 1]
    nothing: Any = np.zeros(N, np.float32)
    base = Telling(constant(of_base), vocab=vocab)
    base.wider = wider
    expert, anti = (FakeModel(constant(row), vocab=vocab) for row in (of_expert, nothing))
    exact = fuse(of_base, of_expert, nothing, steering)
    return Trio(base, expert, anti, steering, elsewhere=True), exact


def test_of_a_row_in_doubt_more_is_asked_for_and_no_token_by_name() -> None:
    trio, exact = doubting(wider=4)
    fused = trio.eval([1])
    assert fused[0] == pytest.approx(exact, abs=1e-5)
    assert trio.coverage == Coverage(rows=1, missed=1, widened=2, asked=0)


def test_each_row_that_is_in_doubt_is_widened_by_itself() -> None:
    trio, exact = doubting(wider=8)
    fused = trio.eval([N - 1, N - 1, 3], 3)
    # After the token 3 nobody goes on, for the best one there is another.
    assert fused[:2] == pytest.approx(np.stack([exact] * 2), abs=1e-5)
    assert np.isneginf(trio.rows.base).sum(axis=-1).tolist() == [0, 0, N - Telling.k]
    assert trio.coverage.widened == 2


def test_what_must_not_be_shown_is_asked_for_by_the_row_alone() -> None:
    for wider, asked, widened in ((0, 0, 0), (4, 0, 2)):
        trio, _ = doubting(wider)
        trio.keeps_secrets = True
        trio.eval([1])
        assert (trio.coverage.asked, trio.coverage.widened) == (asked, widened)


def test_where_the_base_has_no_weight_nothing_is_asked_for() -> None:
    trio, _ = doubting(4, Steering(base_weight=0.0))
    trio.eval([1])
    assert (trio.coverage.asked, trio.coverage.widened) == (0, 0)


def test_a_base_that_fails_while_more_is_asked_for_leaves_all_three_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> bool:
        raise RemoteError("http://127.0.0.1:1", "it has ended")

    trio, exact = doubting(wider=N)
    trio.eval([1])
    with monkeypatch.context() as patch:
        patch.setattr(Telling, "widen", fail)
        with pytest.raises(RemoteError):
            trio.eval([2])
    assert [model.n_past for model in trio.models] == [1, 1, 1]
    assert trio.eval([2])[0] == pytest.approx(exact, abs=1e-5)


def test_what_was_told_is_no_bound_for_others() -> None:
    row = known_of(log_softmax(np.arange(N)[::-1] * 0.2), 4)
    least = least_known(row)
    row[0, N - 1] = -9.0  # looked up
    assert least_known(row)[0, 0] == -9.0
    assert bounded_rows(row, least)[0, 5] > -4.0


def test_only_what_the_expert_finds_plausible_is_asked_for() -> None:
    base = known_of(log_softmax(np.zeros(N)), 3)
    expert = np.zeros((1, N), np.float32)
    expert[0, 7], expert[0, 8] = 10.0, 4.0
    anti = np.full((1, N), -30.0, np.float32)
    anti[0, :3] = 0.0
    anti[0, 7] = 10.0
    most = fuse(bounded_rows(base, least_known(base)), expert, anti)
    assert int(most.argmax()) == 8
    assert doubtful(base, expert, most) == []  # known tokens are ahead of the plausible one
    anti[0, 7] = -30.0
    most = fuse(bounded_rows(base, least_known(base)), expert, anti)
    assert doubtful(base, expert, most) == [(0, 7)]


def test_a_token_that_the_mask_leaves_alone_is_not_asked_for() -> None:
    base = known_of(log_softmax(np.zeros(N)), 3)
    expert = np.zeros((2, N), np.float32)
    expert[:, 7] = 10.0
    expert[1, 2] = 9.9
    anti = np.zeros((2, N), np.float32)
    anti[:, 7] = -30.0
    rows = np.concatenate([base, base])
    most = fuse(bounded_rows(rows, least_known(rows)), expert, anti, Steering(plausibility=0.5))
    assert most.argmax(axis=-1).tolist() == [7, 7]
    assert doubtful(rows, expert, most) == [(1, 7)]


def test_rows_after_a_parting_are_not_asked_about() -> None:
    fused = np.zeros((3, N), np.float32)
    fused[0, 5], fused[1, 6], fused[2, 7] = 1, 1, 1
    assert parting(fused, [1, 5, 6], []) == 2
    assert parting(fused, [1, 5, 9], []) == 1
    assert parting(fused, [1, 9, 6], []) == 0
    assert parting(fused, [1, 9, 6], [0]) == 2
    assert parting(fused[2:], [1], []) == 0
