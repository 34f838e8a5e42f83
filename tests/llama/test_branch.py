"""Several continuations in one decode: the rows of `eval`, and no trace of what was on trial."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.core.model import Branching, Logits
from edgeproxy.errors import (
    Cancelled,
    ContextFullError,
    EngineError,
    LogitsError,
    UsageError,
)
from edgeproxy.llama import MAX_ROWS, LlamaModel, Weights, context
from edgeproxy.llama.branches import Tree, TreeBatch, hold
from edgeproxy.llama.library import lib
from edgeproxy.trios.find import Recipe
from tests.helpers.fakes import FakeModel, Fault
from tests.helpers.gguf_files import ARCHITECTURES, draft
from tests.helpers.near import NEAR, NEAR_QUANTISED, assert_near

Trial = tuple[int, Sequence[int]]
TEXT = [int(token) for token in np.random.default_rng(0).integers(3, 260, 100)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def weights(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Weights]:
    """A random model of each architecture; gemma2's window of 64 is shorter than the text."""
    path = tmp_path_factory.mktemp("branch") / f"{request.param}.gguf"
    with Weights(draft(request.param).write(path)) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def expert(factbook_recipe: Recipe) -> Iterator[Weights]:
    with Weights(factbook_recipe.expert.path) as loaded:
        yield loaded


@pytest.fixture
def model(tiny: Weights) -> LlamaModel:
    made = LlamaModel(tiny, n_ctx=200, n_branches=8)
    made.eval(TEXT)
    return made


def alone(weights: Weights, path: Trial) -> Logits:
    """What `branch` should answer for one path, from a context that never branched."""
    n, tokens = path
    if not tokens:
        return np.empty((0, len(weights.vocab)), np.float32)
    twin = LlamaModel(weights, n_ctx=256)
    twin.eval(TEXT)
    twin.rewind(len(TEXT) - n)
    rows: Logits = twin.eval(tokens, len(tokens)).copy()
    twin.close()
    return rows


CASES: dict[str, tuple[list[int], list[Trial]]] = {
    "nothing": ([], []),
    "trunk only": ([5, 6, 7], []),
    "one path": ([], [(100, [5, 6])]),
    "empty paths": ([5], [(100, []), (3, [])]),
    "no common beginning": ([5, 6], [(100, [7, 8, 9]), (100, [8, 7])]),
    "common with the trunk": ([5, 6, 7], [(100, [5, 6, 8]), (100, [5, 6, 7]), (100, [5])]),
    "common without a trunk": ([], [(100, [5, 6, 8]), (100, [5, 6, 9, 10]), (100, [5, 7])]),
    "from the middle": ([5], [(60, [5, 6, 8]), (60, [5, 7]), (99, [5, 6]), (1, [5, 6])]),
    "from nothing": ([5], [(0, [5, 6]), (0, [5, 7]), (100, [6])]),
    "a longer path after a shorter": ([], [(100, [5]), (100, [5, 6]), (100, [5, 6, 7])]),
    "many": ([9], [(100, [5, 6, 7 + n]) for n in range(8)]),
}

N_EVALUATED = {
    "nothing": 0,
    "trunk only": 3,
    "one path": 2,
    "empty paths": 1,
    "no common beginning": 7,
    "common with the trunk": 4,
    "common without a trunk": 6,
    "from the middle": 1 + 4 + 2 + 2,
    "from nothing": 1 + 3 + 1,
    "a longer path after a shorter": 3,
    "many": 1 + 2 + 8,
}

cases = pytest.mark.parametrize("case", CASES)


# Rows


def check_rows(weights: Weights, case: str, atol: float) -> None:
    trunk, others = CASES[case]
    model, twin = LlamaModel(weights, n_ctx=256, n_branches=8), LlamaModel(weights, n_ctx=256)
    for each in (model, twin):
        each.eval(TEXT)
    got = [rows.copy() for rows in model.branch(trunk, others)]
    assert model.n_past == 100 + len(trunk)
    for rows, path in zip(got, [(100, trunk), *others], strict=True):
        assert rows.shape == (len(path[1]), len(weights.vocab))
        assert rows.dtype == np.float32
        assert_near(rows, alone(weights, path), atol)
    if trunk:
        twin.eval(trunk)
    for after in ([7], [7, 8, 9], [10]):
        assert_near(model.eval(after, len(after)), twin.eval(after, len(after)), atol)


@cases
def test_rows_are_those_of_eval_and_leave_no_trace(weights: Weights, case: str) -> None:
    check_rows(weights, case, NEAR)


@pytest.mark.weights
@cases
def test_rows_of_the_shipped_expert_are_those_of_eval(expert: Weights, case: str) -> None:
    check_rows(expert, case, NEAR_QUANTISED)


def test_rows_may_be_kept_until_the_next_call_and_outlive_the_model(model: LlamaModel) -> None:
    got = model.branch([5], [(100, [5, 6]), (100, [7])])
    kept = [rows.copy() for rows in got]
    model.close()
    assert all(map(np.array_equal, got, kept))


# Sharing


def fake(n_ctx: int = 256, n_branches: int = 8) -> FakeModel:
    made = FakeModel(n_ctx=n_ctx, n_branches=n_branches)
    made.eval(TEXT)
    return made


@cases
def test_a_common_beginning_is_evaluated_once(model: LlamaModel, case: str) -> None:
    made: FakeModel | LlamaModel
    for made in (model, fake()):
        assert made.evaluated == 100
        made.branch(*CASES[case])
        assert made.evaluated - 100 == N_EVALUATED[case]


def test_failures_do_not_count(model: LlamaModel) -> None:
    with pytest.raises(EngineError):
        model.branch([5], [(100, [-1])])
    model.eval([5, 6])
    model.rewind(2)
    assert model.evaluated == 102


def test_sharing_is_what_the_limit_on_rows_counts(model: LlamaModel) -> None:
    common = list(range(10, 34))
    got = model.branch([], [(100, [*common, n]) for n in range(8)])
    assert [len(rows) for rows in got] == [0] + [25] * 8
    got = model.branch([], [(50 + n, [5, 6, 7, 8]) for n in range(8)])
    assert sum(map(len, got)) == MAX_ROWS
    made: Branching
    for made in (model, fake()):
        with pytest.raises(EngineError, match="33 rows asked"):
            made.branch([5], [(50 + n, [5, 6, 7, 8]) for n in range(8)])


# Limits


def test_the_past_the_trunk_and_the_paths_must_fit_together(tiny: Weights) -> None:
    model, twin = (LlamaModel(tiny, n_ctx=106, n_branches=n) for n in (2, 0))
    model.eval(TEXT)
    twin.eval(TEXT)
    made: Branching
    for made in (model, fake(106)):
        with pytest.raises(ContextFullError):
            made.branch([5, 6, 7], [(100, [6, 7]), (100, [7, 8])])
        assert made.n_past == 100
        made.branch([5, 6, 7], [(100, [5, 6, 8]), (30, [7, 8])])
        assert made.n_past == 103
    twin.eval([5, 6, 7], 3)
    assert_near(model.eval([8, 9, 10], 3), twin.eval([8, 9, 10], 3))
    assert model.n_past == model.n_ctx


def test_nothing_on_trial_stays_in_the_cache(weights: Weights) -> None:
    model, twin = (LlamaModel(weights, n_ctx=256, n_branches=n) for n in (8, 0))
    for each in (model, twin):
        each.eval(TEXT)
    for n in range(100):
        others = [(100 + n - m, [5 + m, 6, n]) for m in range(8)]
        model.branch([7 + n], others)
        twin.eval([7 + n])
    assert_near(model.eval([9] * 56, 32), twin.eval([9] * 56, 32))
    assert model.n_past == model.n_ctx


WRONG: dict[str, tuple[list[int], list[Trial], str]] = {
    "n too large": ([5], [(101, [5])], "continue"),
    "n too small": ([5], [(-1, [5])], "continue"),
    "n of an empty path": ([5], [(101, [])], "continue"),
    "trunk's token": ([5, 268], [(100, [5])], "outside the vocabulary"),
    "path's token": ([5], [(100, [5, -1])], "outside the vocabulary"),
    "64 bits": ([5], [(100, [2**32 + 5])], "outside the vocabulary"),
    "too many paths": ([5], [(100, [5])] * 9, "9 other paths"),
    "too long a trunk": ([5] * 33, [], "33 rows asked"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_numbers_never_reach_llama_cpp(model: LlamaModel, wrong: str) -> None:
    trunk, others, said = WRONG[wrong]
    made: Branching
    for made in (model, fake()):
        with pytest.raises(EngineError, match=said):
            made.branch(trunk, others)
        assert made.n_past == 100


@pytest.mark.parametrize("n_branches", [-1, 17])
def test_an_impossible_number_of_branches_is_refused(tiny: Weights, n_branches: int) -> None:
    with pytest.raises(UsageError, match=f"between 0 and 16, not {n_branches}"):
        LlamaModel(tiny, n_branches=n_branches)


def test_without_branches_only_the_trunk_can_be_read(tiny: Weights) -> None:
    model, twin = LlamaModel(tiny), LlamaModel(tiny)
    assert lib.llama_n_seq_max(model._context) == 1
    assert_near(model.branch(TEXT[:20])[0], twin.eval(TEXT[:20], 20))
    with pytest.raises(EngineError, match="can take 0"):
        model.branch([], [(20, [5])])


def test_a_recurrent_model_cannot_branch(tiny: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "can_rewind", False)
    model = LlamaModel(tiny, n_branches=8)
    model.eval(TEXT)
    with pytest.raises(EngineError, match="can take 0"):
        model.branch([], [(100, [5])])


def test_a_closed_model_does_not_branch(model: LlamaModel) -> None:
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.branch([5])


# Failures


def check_state(model: LlamaModel) -> None:
    """`model` is as if it had read `TEXT` and nothing else, and branches as one that has."""
    twin = LlamaModel(model._weights, n_ctx=200, n_branches=8)
    twin.eval(TEXT)
    trunk, others = CASES["common with the trunk"]
    assert model.n_past == 100
    for rows in zip(model.branch(trunk, others), twin.branch(trunk, others), strict=True):
        assert_near(*rows)
    assert_near(model.eval([7] * 97), twin.eval([7] * 97))
    assert model.n_past == model.n_ctx


class Interrupting(threading.Event):
    """A cancel event that acts when it has been asked some times; unarmed until then."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1
        self.error: BaseException | None = None

    def is_set(self) -> bool:
        self.left -= 1
        if self.left == 0 and self.error is not None:
            raise self.error
        return self.left == 0


@pytest.mark.parametrize("at", [1, 2, 20])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("case", ["common with the trunk", "from the middle", "from nothing"])
def test_an_interrupt_in_the_middle_leaves_the_state(
    tiny: Weights, case: str, error: BaseException | None, at: int
) -> None:
    cancel = Interrupting()
    model = LlamaModel(tiny, n_ctx=200, n_branches=8, cancel=cancel)
    model.eval(TEXT)
    model.branch(*CASES["many"])
    model.rewind(1)
    cancel.left, cancel.error = at, error
    with pytest.raises(type(error) if error else Cancelled):
        model.branch(*CASES[case])
    assert model.evaluated == 100 + N_EVALUATED["many"]
    check_state(model)


@pytest.mark.parametrize("name", ["fill", "select", "_read_rows"])
@pytest.mark.parametrize("late", [False, True])
def test_an_error_anywhere_leaves_the_state(
    model: LlamaModel, monkeypatch: pytest.MonkeyPatch, name: str, late: bool
) -> None:
    owner = {"fill": TreeBatch, "select": Tree, "_read_rows": LlamaModel}[name]
    real: Callable[..., object] = getattr(owner, name)

    def fail(*arguments: object) -> object:
        if late:
            real(*arguments)
        raise LogitsError("no")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(LogitsError):
            model.branch(*CASES["from the middle"])
    check_state(model)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_while_sequences_change_leaves_the_state(
    model: LlamaModel, monkeypatch: pytest.MonkeyPatch, nth: int, late: bool
) -> None:
    calls = 0

    def interrupted(memory: object, starts: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if calls != nth:
            hold(memory, starts)
            return
        hold(memory, starts if late else starts[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(context, "hold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.branch(*CASES["from the middle"])
    check_state(model)


def test_a_branch_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    made = draft("llama")
    made.data["output_norm.weight"] = struct.pack("<f", float("nan")) * 32
    with Weights(made.write(tmp_path / "nan.gguf")) as broken:
        model = LlamaModel(broken, n_branches=2)
        with pytest.raises(LogitsError, match="not numbers"):
            model.branch([], [(0, [5])])
        assert model.n_past == 0


def test_a_fake_fails_where_it_is_asked_to() -> None:
    model = fake()
    model.fail_on(1, Fault(EngineError("no")))
    with pytest.raises(EngineError, match="no"):
        model.branch([5])
    assert model.n_past == 100
    model.fail_on(2, Fault())
    model.eval([6])
    assert np.isnan(model.branch([5], [(100, [7, 8]), (3, [])])[1][-1, 0])
    assert model.branches[-1] == ([5], [(100, [7, 8]), (3, [])])


# Any order

step = st.tuples(st.sampled_from(["eval", "rewind", "branch", "cancelled"]), st.integers(0, 999))


def draw_paths(seed: int, n_past: int) -> tuple[list[int], list[Trial]]:
    """A trunk and others over few tokens, so that many begin alike."""
    random = np.random.default_rng(seed)

    def tokens(least: int) -> list[int]:
        return [int(token) for token in random.integers(5, 7, random.integers(least, 4))]

    starts = (int(random.choice([n_past, n_past // 2, max(n_past - 1, 0), 0])) for _ in range(8))
    return tokens(0), [(n, tokens(1)) for n in list(starts)[: random.integers(1, 9)]]


@pytest.mark.slow
@given(st.lists(step, min_size=1, max_size=12))
@settings(max_examples=30)
def test_any_order_of_calls_equals_one_without_branches(
    weights: Weights, steps: list[tuple[str, int]]
) -> None:
    cancel = Interrupting()
    model = LlamaModel(weights, n_ctx=512, n_branches=8, cancel=cancel)
    fake = FakeModel(n_ctx=512, n_branches=8)
    calls: list[methodcaller] = []

    def alone(n: int, tokens: Sequence[int]) -> Logits:
        """The rows of a context that made the same calls, but never branched."""
        twin = LlamaModel(weights, n_ctx=512)
        for call in calls:
            call(twin)
        twin.rewind(twin.n_past - n)
        rows = twin.eval(tokens, len(tokens))
        twin.close()
        return rows

    for name, seed in [*steps, ("branch", 0)]:
        before, (trunk, others) = model.n_past, draw_paths(seed, model.n_past)
        if name == "eval":
            calls.append(methodcaller("eval", TEXT[: 1 + seed % 40]))
        elif name == "rewind":
            calls.append(methodcaller("rewind", seed % (before + 1)))
        elif name == "cancelled":
            cancel.left = 1 + seed % 20
            with pytest.raises(Cancelled):
                model.branch([5, 5, *trunk], others)
        else:
            got = model.branch(trunk, others)
            for (n, tokens), rows in zip([(before, trunk), *others], got, strict=True):
                if tokens:
                    assert_near(rows, alone(n, tokens))
            fake.branch(trunk, others)
            if trunk:
                calls.append(methodcaller("eval", trunk))
        if name in ("eval", "rewind"):
            calls[-1](model)
            calls[-1](fake)
        assert model.n_past == fake.n_past
        assert model.evaluated == fake.evaluated
    model.close()
