"""What is fastest is found by trying, and what is hopeless is noticed at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from edgeproxy.tune import speed
from edgeproxy.tune.settings import Dtype
from edgeproxy.tune.speed import dtype_of, fastest_dtype, fastest_threads, using_threads


class Machine:
    """Takes the seconds that `takes` says for so many threads, or for a dtype and rows."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tried: list[int] = []

    def clock(self) -> float:
        return self.now

    def work(self, takes: Callable[[int], float]) -> Callable[[], None]:
        def once() -> None:
            self.tried.append(torch.get_num_threads())
            self.now += takes(torch.get_num_threads())

        return once


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One on which numbers of threads are set but not made."""
    count = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: count.__setitem__(0, n))
    return Machine()


def test_the_fastest_number_of_threads_is_taken(machine: Machine) -> None:
    work = machine.work({8: 1.1, 6: 1.0, 4: 1.15, 2: 2.0, 1: 4.0}.__getitem__)
    trial = fastest_threads(work, (8, 6, 4, 2, 1), machine.clock)
    assert trial.threads == 6
    assert trial.seconds == pytest.approx(1.0)
    # A number that is clearly worse ends it.
    assert machine.tried == [8, 8, 6, 6, 4, 4, 2, 2]
    assert torch.get_num_threads() == 1


def test_on_a_machine_where_threads_hinder_one_is_taken(machine: Machine) -> None:
    work = machine.work(lambda threads: float(threads))
    assert fastest_threads(work, (4, 2, 1), machine.clock).threads == 1


def test_one_number_is_timed_only(machine: Machine) -> None:
    trial = fastest_threads(machine.work(lambda _: 3.0), [5], machine.clock)
    assert trial.threads == 5
    assert trial.seconds == pytest.approx(3.0)
    assert machine.tried == [5, 5]


@pytest.mark.parametrize(
    ("bfloat16", "float32", "expected", "most_rows"),
    [
        (lambda rows: rows, lambda rows: 1.8 * rows, "bfloat16", 128),
        (lambda rows: 1.5 * rows, lambda rows: rows, "float32", 128),
        (lambda rows: 30.0 * rows, lambda rows: rows, "float32", 8),
        (lambda rows: 1.0 * rows, lambda rows: 3.0 * rows, "bfloat16", 8),
    ],
    ids=["has instructions", "nearly as fast", "has none", "much faster"],
)
def test_the_fastest_dtype_is_taken(
    bfloat16: Callable[[int], float],
    float32: Callable[[int], float],
    expected: Dtype,
    most_rows: int,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    takes = {torch.bfloat16: bfloat16, torch.float32: float32}

    class Layer:
        def __init__(self, width: int, inner: int, dtype: torch.dtype) -> None:
            assert (width, inner) == (64, 128)
            self._takes = takes[dtype]

        def trial(self, rows: int) -> Callable[[], None]:
            def once() -> None:
                machine.tried.append(rows)
                machine.now += self._takes(rows)

            return once

    monkeypatch.setattr(speed, "_Layer", Layer)
    assert fastest_dtype(64, 128, 1, machine.clock) == expected
    # What is hopeless is not tried with many rows.
    assert max(machine.tried) == most_rows


def test_a_real_trial_gives_one_of_the_dtypes() -> None:
    assert fastest_dtype(64, 128, 1) in ("bfloat16", "float32")


def test_the_number_of_threads_is_put_back_after_an_error(machine: Machine) -> None:
    def fails() -> None:
        assert torch.get_num_threads() == 7
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), using_threads(7):
        fails()
    assert torch.get_num_threads() == 1


def test_the_largest_weight_says_what_dtype_a_network_has() -> None:
    norm, matrix = torch.ones(8), torch.ones(8, 8, dtype=torch.bfloat16)
    assert dtype_of([norm, matrix]) == "bfloat16"
    assert dtype_of([norm]) == "float32"
