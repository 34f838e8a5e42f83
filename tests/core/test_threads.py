"""Thread counts and the pair at once: chosen by what evaluations take, on a clock of the test's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgeproxy.core import threads as threads_module
from edgeproxy.core.threads import (
    Beside,
    Choice,
    Crew,
    Threads,
    at_once,
    counts,
    default_threads,
    processors,
)
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama.library import lib
from tests.helpers.fakes import Fault, random_model
from tests.helpers.gguf_files import draft as gguf_draft
from tests.helpers.near import assert_near


class Machine:
    """A clock, and evaluations that move it on by what they cost at the moment."""

    def __init__(self, cost: Callable[[int], float], noise: float = 0.0) -> None:
        self.now = 0.0
        self.cost = cost
        self.used: list[int] = []
        self._noise = noise
        self._source = Random(1)

    def clock(self) -> float:
        return self.now

    def run(self, threads: Threads, seconds: float, tokens: Callable[[], int] = lambda: 1) -> None:
        """Evaluate for so long."""
        end = self.now + seconds
        while self.now < end:
            n = tokens()
            count = threads.pick(n, n)
            took = self.cost(count) * (1 + 0.3 * (n - 1))
            took *= 1 + self._source.uniform(0, self._noise)
            self.now += took
            self.used.append(count)
            threads.took(count, n, n, took)

    def share_of(self, count: int, last: int = 100) -> float:
        used = self.used[-last:]
        return used.count(count) / len(used)


def quiet(count: int) -> float:
    return 0.01 + 0.04 / count


def busy(count: int) -> float:
    """One of two processors is somebody else's."""
    return 0.05 if count == 1 else 0.09


def test_the_most_are_used_where_more_are_faster() -> None:
    machine = Machine(quiet, noise=0.2)
    machine.run(Threads(2, clock=machine.clock), 60)
    assert machine.share_of(2, len(machine.used)) > 0.95


def test_fewer_are_found_within_two_seconds_of_load() -> None:
    machine = Machine(quiet, noise=0.2)
    threads = Threads(2, clock=machine.clock)
    machine.run(threads, 60)
    machine.cost = busy
    machine.run(threads, 2)
    assert threads.choice.best == 1
    machine.run(threads, 30)
    assert machine.share_of(1, 400) > 0.95


def test_load_from_the_beginning_is_found_as_well() -> None:
    machine = Machine(busy, noise=0.2)
    threads = Threads(2, clock=machine.clock)
    machine.run(threads, 2)
    assert threads.choice.best == 1


def test_all_are_used_again_once_it_is_quiet() -> None:
    machine = Machine(busy, noise=0.2)
    threads = Threads(2, clock=machine.clock, rarest=1.5)
    machine.run(threads, 60)
    machine.cost = lambda count: 0.05 if count == 1 else 0.03
    machine.run(threads, 3)
    assert threads.choice.best == 2


def test_evaluations_of_many_kinds_are_compared_with_their_own() -> None:
    source = Random(2)
    machine = Machine(busy)
    threads = Threads(2, clock=machine.clock)
    machine.run(threads, 20, lambda: source.choice([1, 2, 4, 8]))
    assert threads.choice.best == 1


def test_the_best_of_many_counts_is_climbed_to() -> None:
    machine = Machine(lambda count: 0.1 / min(count, 6) + 0.002 * max(0, count - 6))
    threads = Threads(16, clock=machine.clock)
    machine.run(threads, 10)
    assert threads.choice.best in (5, 8)  # neighbours of 6 among the counts


def test_a_machine_that_is_never_steady_is_not_always_tried() -> None:
    machine = Machine(quiet, noise=2.0)
    machine.run(Threads(2, clock=machine.clock), 120)
    assert machine.share_of(1, len(machine.used)) < 0.15


def test_long_batches_are_neither_tried_nor_counted() -> None:
    machine = Machine(busy)
    threads = Threads(2, clock=machine.clock)
    machine.run(threads, 60, lambda: 256)
    assert set(machine.used) == {2}


def test_a_trial_that_is_hopeless_costs_one_evaluation() -> None:
    machine = Machine(lambda count: 1.0 if count == 1 else 0.01)
    machine.run(Threads(2, clock=machine.clock), 0.5)
    assert machine.used.count(1) == 1


def test_a_fixed_number_stays() -> None:
    machine = Machine(busy)
    machine.run(Threads(2, is_fixed=True, clock=machine.clock), 20)
    assert set(machine.used) == {2}


@pytest.mark.parametrize("most", [0, -1, 513])
def test_impossible_numbers_are_refused(most: int) -> None:
    with pytest.raises(UsageError, match="between 1 and 512"):
        Threads(most, is_fixed=True)


def test_the_counts_that_are_tried() -> None:
    assert counts(1) == [1]
    assert counts(2) == [2, 1]
    assert counts(8) == [8, 7, 6, 4, 2, 1]


def test_small_models_get_one_thread_and_large_ones_what_there_is() -> None:
    assert default_threads(1_000_000) == 1
    assert default_threads(10**9) == min(processors(), 16)


@pytest.mark.parametrize(
    ("allowed", "quota", "count"),
    [(8, None, 8), (8, 2.0, 2), (8, 2.9, 2), (8, 0.5, 1), (2, 6.0, 2), (8, 8.0, 8)],
)
def test_a_mask_and_a_quota_limit_the_processors(
    allowed: int, quota: float | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(threads_module, "cpu_quota", lambda: quota)
    assert processors() == count
    assert default_threads(10**9) == count
    assert Crew(10**9, 10**9).base.choice._options[0] == count
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: allowed)
    assert processors() == count


def test_more_threads_for_one_make_the_other_look() -> None:
    machine = Machine(busy)
    one, other = (Threads(2, rarest=120.0, clock=machine.clock) for _ in range(2))
    one.choice.on_change = other.choice.look_again
    for threads in (one, other):
        machine.run(threads, 60)
        assert threads.choice.best == 1
    machine.cost = quiet
    machine.run(one, 120)
    assert one.choice.best == 2
    machine.used.clear()
    machine.run(other, 0.2)
    assert 2 in machine.used  # though nothing of its own has changed


def test_fewer_threads_for_one_are_no_reason_for_the_other() -> None:
    machine = Machine(quiet)
    one, other = (Threads(2, clock=machine.clock) for _ in range(2))
    one.choice.on_change = other.choice.look_again
    machine.run(other, 60)
    machine.cost = busy
    machine.run(one, 5)
    assert one.choice.best == 1
    machine.cost = quiet
    machine.used.clear()
    machine.run(other, 0.1)
    assert set(machine.used) == {2}


def starving(count: int) -> float:
    """Two threads of which one hardly ever gets a processor."""
    return quiet(count) * (20.0 if count > 1 else 1.1)


def test_what_takes_many_times_as_long_is_left_after_one_evaluation() -> None:
    machine = Machine(quiet)
    threads = Threads(2, rarest=120.0, clock=machine.clock)
    machine.run(threads, 60)
    machine.cost = starving
    machine.used.clear()
    machine.run(threads, 30)
    assert machine.used[:3] == [2, 1, 1]
    # And trials of it must not take what was gained.
    lost = machine.used.count(2) * starving(2)
    assert lost < 0.15 * 30


def test_after_a_hiccup_the_old_number_comes_back() -> None:
    machine = Machine(quiet)
    threads = Threads(2, rarest=120.0, clock=machine.clock)
    machine.run(threads, 60)
    machine.cost = starving
    machine.run(threads, 0.01)
    machine.cost = quiet
    machine.run(threads, 12)
    assert threads.choice.best == 2


def test_a_crew_is_told_by_each_other() -> None:
    crew = Crew(10**9, 10**9)
    assert crew.base.choice.on_change == crew.pair.choice.look_again
    assert crew.pair.choice.on_change == crew.base.choice.look_again


def test_a_fixed_crew_and_a_small_one_do_nothing_at_once() -> None:
    crew = Crew(10**9, 10**9, 3)
    assert (crew.base.choice.best, crew.pair.choice.best, crew.beside) == (3, 3, None)
    assert Crew(10**6, 10**6).beside is None


def test_a_model_alone_gets_its_threads_as_the_trio_does() -> None:
    crew = Crew(10**9, 10**8)
    for n_params, role in ((10**9, crew.base), (10**8, crew.pair)):
        alone = crew.alone(n_params)
        assert alone is not role
        assert alone.choice._options == role.choice._options
    assert crew.alone(10**6).choice._options == [1]
    assert Crew(10**9, 10**8, 3).alone(10**9).choice._options == [3]


def always(at_once: bool) -> Beside:
    beside = Beside(Threads(2))
    beside.choice = Choice([at_once])
    return beside


class TestBeside:
    """The pair at once, or one after the other."""

    @pytest.mark.parametrize("at_once", [False, True])
    def test_both_results_come_back(self, at_once: bool) -> None:
        assert always(at_once).run(0, lambda: 1, lambda: "two") == (1, "two")

    def test_at_once_means_two_threads_with_half_of_the_processors_each(self) -> None:
        beside = always(True)
        meeting = threading.Barrier(2, timeout=5)
        threads = beside._threads

        def work() -> tuple[int, int]:
            meeting.wait()
            return threading.get_ident(), threads.pick(1, 1)

        (one, halved), (two, also) = beside.run(0, work, work)
        assert one != two
        assert (halved, also) == (1, 1)
        assert threads.pick(1, 1) == 2

    @pytest.mark.parametrize("failing", [0, 1])
    def test_a_failure_comes_back_when_both_have_ended(self, failing: int) -> None:
        beside = always(True)
        ended = []

        def work(number: int) -> None:
            if number == failing:
                raise KeyboardInterrupt
            threading.Event().wait(0.02)
            ended.append(number)

        with pytest.raises(KeyboardInterrupt):
            beside.run(0, lambda: work(0), lambda: work(1))
        assert ended == [1 - failing]
        assert not beside._threads.is_halved

    def test_the_faster_way_is_found(self) -> None:
        machine = Machine(lambda at_once: 0.02 if at_once else 0.03)
        beside = Beside(Threads(2), clock=machine.clock)
        slow = 0

        def work() -> None:
            machine.now += 0.01 if beside._threads.is_halved else 0.015

        for _ in range(200):
            beside.run(0, work, work)
            slow += not beside._threads.is_halved
        assert beside.choice.best is True


PROMPT = RoleTokens([1, 2], [3], [4, 5, 6])


def trio_of(beside: Beside | None) -> Trio:
    return Trio(random_model(1), random_model(2), random_model(3), beside=beside)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_trio_says_the_same_either_way(at_once: bool) -> None:
    rows = []
    for beside in (None, always(at_once)):
        trio = trio_of(beside)
        trio.eval(PROMPT)
        rows.append(trio.eval([7, 8], 2).tolist())
        trio.rewind(1)
        rows[-1] += trio.eval([9]).tolist()
    assert rows[0] == rows[1]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("role", [0, 1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, EngineError])
def test_whoever_fails_beside_the_other_all_stay_where_they_were(
    error: type[BaseException], role: int, late: bool
) -> None:
    trio = trio_of(always(True))
    trio.eval(PROMPT)
    models: Any = trio.models
    before = [list(model.history) for model in models]
    models[role].fail_on(1, Fault(error("it failed"), late))
    with pytest.raises(error):
        trio.eval([60, 61])
    assert [model.history for model in models] == before
    plain = trio_of(None)
    plain.eval(PROMPT)
    assert trio.eval([60, 61], 2).tolist() == plain.eval([60, 61], 2).tolist()


@pytest.mark.weights
def test_threads_change_no_logits(tmp_path: Path) -> None:
    """Bar rounding: more, and threads that are learned would change texts."""
    made = gguf_draft("llama", width=64)
    with Weights(made.write(tmp_path / "model.gguf")) as weights:
        rows = []
        for count in (1, 2, 3):
            model = LlamaModel(weights, n_threads=count)
            model.eval(list(range(100)))
            rows.append(model.eval([5, 6, 7], 3).copy())
    assert_near(rows[0], rows[1])
    assert_near(rows[0], rows[2])


@pytest.mark.weights
def test_a_context_takes_the_threads_it_is_told(tmp_path: Path) -> None:
    made = gguf_draft("llama", width=64)
    with Weights(made.write(tmp_path / "model.gguf")) as weights:
        threads = Threads(2)
        model = LlamaModel(weights, n_threads=threads)
        used: list[int] = []
        took = threads.took

        def noted(count: int, *rest: Any) -> None:
            assert lib.llama_n_threads(model._context) == count
            used.append(count)
            took(count, *rest)

        threads.took = noted  # type: ignore[method-assign, assignment]
        for token in range(60):
            model.eval([token])
        assert set(used) == {1, 2}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_what_nobody_wants_any_more_is_told_to_stop(error: BaseException) -> None:
    stopped, begun, ended = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.wait()
        raise error

    def second() -> None:
        begun.set()
        assert stopped.wait(60)
        ended.append(True)

    with ThreadPoolExecutor(1) as pool, pytest.raises(type(error)):
        at_once(pool, first, second, stopped.set)
    assert ended == [True]
    with ThreadPoolExecutor(1) as pool:
        stopped.clear()
        assert at_once(pool, lambda: 1, lambda: 2, stopped.set) == (1, 2)
    assert not stopped.is_set()
