"""Three models as one: the fused rows, and that a step happens for all three or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import (
    Cancelled,
    ContextFullError,
    EdgeproxyError,
    EngineError,
    LogitsError,
    UsageError,
)
from tests.helpers.fakes import FakeModel, Fault, fake_vocab, noise, random_model, random_trio

PROMPT = RoleTokens([1, 2, 3], [4, 5, 6, 7, 8], [9])


def fakes(trio: Trio) -> tuple[FakeModel, ...]:
    assert all(isinstance(model, FakeModel) for model in trio.models)
    return trio.models  # type: ignore[return-value]


def histories(trio: Trio) -> list[list[int]]:
    return [list(model.history) for model in fakes(trio)]


def test_rows_are_the_fused_rows_of_the_three() -> None:
    trio = random_trio(alpha=0.6, plausibility=0.01)
    got = trio.eval([10, 20, 30], 2)
    base, expert, anti = (random_model(seed).eval([10, 20, 30], 2) for seed in (1, 2, 3))
    assert np.array_equal(got, fuse(base, expert, anti, Steering(0.6, plausibility=0.01)))


def test_the_steering_may_change_between_evals() -> None:
    trio = random_trio()
    steered = trio.eval([1]).copy()
    trio.rewind(1)
    trio.steering = Steering(0.0, plausibility=0.5)
    plain = trio.eval([1])
    assert np.array_equal(plain, random_model(1).eval([1]))
    assert not np.array_equal(plain, steered)


def test_models_that_do_not_speak_the_bases_vocabulary_are_refused() -> None:
    other = random_model(1, vocab=fake_vocab(3))
    with pytest.raises(UsageError, match="the anti-expert does not speak"):
        Trio(random_model(1), random_model(2), other)
    with pytest.raises(UsageError, match="the expert does not speak"):
        Trio(random_model(1), other, random_model(2))


def test_each_role_may_read_its_own_prompt() -> None:
    trio = random_trio()
    got = trio.eval(PROMPT).copy()
    assert histories(trio) == [list(tokens) for tokens in PROMPT]
    assert trio.n_past == 5
    rows = [random_model(s).eval(p) for s, p in zip((1, 2, 3), PROMPT, strict=True)]
    assert np.array_equal(got, fuse(rows[0], rows[1], rows[2]))
    trio.eval([50])
    assert histories(trio) == [[*tokens, 50] for tokens in PROMPT]


def test_the_smallest_context_counts() -> None:
    trio = Trio(random_model(1, n_ctx=50), random_model(2, n_ctx=20), random_model(3, n_ctx=30))
    assert trio.n_ctx == 20
    with pytest.raises(ContextFullError):
        trio.eval(list(range(21)))
    assert histories(trio) == [[], [], []]


ERRORS: list[Callable[[], BaseException]] = [
    lambda: EngineError("it failed"),
    lambda: LogitsError("NaN"),
    lambda: Cancelled("stopped"),
    lambda: MemoryError(),
    lambda: KeyboardInterrupt(),
    lambda: SystemExit(),
]


@pytest.mark.parametrize("late", [False, True], ids=["before it reads", "when it has read"])
@pytest.mark.parametrize("role", [0, 1, 2], ids=["base", "expert", "anti_expert"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda make: type(make()).__name__)
def test_whoever_fails_all_three_stay_where_they_were(
    error: Callable[[], BaseException], role: int, late: bool
) -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    before = histories(trio)
    raised = error()
    fakes(trio)[role].fail_on(1, Fault(raised, late=late))
    with pytest.raises(type(raised)) as caught:
        trio.eval([60, 61])
    assert caught.value is raised
    assert histories(trio) == before
    fresh = random_trio()
    fresh.eval(PROMPT)
    assert np.array_equal(trio.eval([60, 61], 2), fresh.eval([60, 61], 2))


def test_a_failing_fusion_leaves_all_three_where_they_were() -> None:
    trio = random_trio()
    trio.eval([1, 2])
    fakes(trio)[1].fail_on(1, Fault(value=float("nan")))
    with pytest.raises(LogitsError):
        trio.eval([3])
    assert histories(trio) == [[1, 2]] * 3


def test_a_failing_first_prompt_leaves_them_empty() -> None:
    trio = random_trio()
    fakes(trio)[2].fail_on(1, Fault(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        trio.eval(PROMPT)
    assert histories(trio) == [[], [], []]
    assert trio.n_past == 0


def test_a_model_that_lost_tokens_behind_the_trios_back_is_found() -> None:
    trio = random_trio()
    trio.eval([1, 2, 3])
    fakes(trio)[1].rewind(2)
    fakes(trio)[2].fail_on(1, Fault(EngineError("it failed")))
    with pytest.raises(EngineError, match="out of step"):
        trio.rewind(1)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=12), st.data())
def test_rewind_then_eval_equals_fresh_eval(tokens: list[int], data: st.DataObject) -> None:
    trio = random_trio()
    trio.eval(tokens)
    n = data.draw(st.integers(0, len(tokens)))
    trio.rewind(n)
    assert trio.n_past == len(tokens) - n
    again = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=5))
    fresh = random_trio()
    assert np.array_equal(trio.eval(again), fresh.eval(tokens[: len(tokens) - n] + again))


@pytest.mark.parametrize("n", [-1, 4])
def test_a_trio_cannot_forget_what_it_has_not_read(n: int) -> None:
    trio = random_trio()
    trio.eval([1, 2, 3])
    with pytest.raises(EngineError, match=f"cannot forget {n} tokens"):
        trio.rewind(n)
    assert histories(trio) == [[1, 2, 3]] * 3


def test_rewinding_is_bounded_by_the_shortest_prompt() -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    with pytest.raises(EngineError):
        trio.rewind(2)
    trio.rewind(1)
    assert histories(trio) == [[1, 2], [4, 5, 6, 7], []]


def test_resuming_keeps_the_common_beginning_role_by_role() -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    trio.eval([50])
    rest = trio.resume(RoleTokens([1, 2, 3, 50, 60], [4, 5, 99], [8, 9]))
    assert rest == RoleTokens([60], [99], [8, 9])
    assert histories(trio) == [[1, 2, 3, 50], [4, 5], []]


def test_resuming_leaves_a_token_to_evaluate() -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    assert trio.resume(PROMPT) == RoleTokens([3], [8], [9])
    assert trio.resume(RoleTokens([1], [4, 5], [9])) == RoleTokens([1], [5], [9])


roles = st.lists(st.integers(0, 3), min_size=1, max_size=8)
prompts = st.builds(RoleTokens, roles, roles, roles)


@given(prompts, prompts, st.integers(0, 2))
def test_resume_then_eval_equals_a_fresh_eval_of_the_prompt(
    first: RoleTokens, second: RoleTokens, said: int
) -> None:
    trio = random_trio()
    trio.eval(first)
    for token in range(said):
        trio.eval([token])
    got = trio.eval(trio.resume(second)).copy()
    assert histories(trio) == [list(tokens) for tokens in second]
    assert np.array_equal(got, random_trio().eval(second))


def test_an_empty_prompt_of_one_role_is_an_error_and_leaves_the_trio_usable() -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    with pytest.raises(EdgeproxyError):
        trio.eval(trio.resume(RoleTokens([1, 2], [], [9, 1])))
    assert np.array_equal(trio.eval(trio.resume(PROMPT)), random_trio().eval(PROMPT))


def test_the_row_of_the_last_eval_stays_until_the_next() -> None:
    trio = random_trio()
    one = trio.eval([1])
    copy = one.copy()
    trio.steering = Steering(0.0)
    assert np.array_equal(one, copy)


def states_of(trio: Trio) -> list[memoryview]:
    return [model.state() for model in trio.saving]


def test_what_another_trio_has_read_may_be_adopted() -> None:
    first, second = random_trio(), random_trio()
    first.eval(PROMPT)
    second.eval([7, 8, 9])
    second.read_ahead(3)
    version = second.version
    second.adopt(PROMPT, states_of(first))
    assert histories(second) == [list(tokens) for tokens in PROMPT]
    assert second.version != version
    assert np.array_equal(second.eval([50]), first.eval([50]))
    assert second.resume(PROMPT) == RoleTokens([3], [8], [9])


@pytest.mark.parametrize("role", [0, 1, 2])
@pytest.mark.parametrize("error", ERRORS, ids=lambda make: type(make()).__name__)
def test_what_cannot_be_adopted_leaves_all_three_empty(
    error: Callable[[], BaseException], role: int
) -> None:
    first, trio = random_trio(), random_trio()
    first.eval(PROMPT)
    trio.eval([7, 8, 9])
    raised = error()

    def given() -> Iterator[memoryview]:
        for place, state in enumerate(states_of(first)):
            if place == role:
                raise raised
            yield state

    with pytest.raises(type(raised)) as caught:
        trio.adopt(PROMPT, given())
    assert caught.value is raised
    assert histories(trio) == [[], [], []]
    assert np.array_equal(trio.eval(PROMPT), random_trio().eval(PROMPT))


def test_a_state_of_other_tokens_is_refused() -> None:
    first, trio = random_trio(), random_trio()
    first.eval(PROMPT)
    with pytest.raises(EngineError):
        trio.adopt(RoleTokens([1, 2, 3], [4, 5], [9]), states_of(first))
    assert histories(trio) == [[], [], []]


# The rows behind a fused one


def test_the_rows_of_the_three_stand_beside_the_fused() -> None:
    trio = random_trio(alpha=0.6, plausibility=0.01)
    assert [len(rows) for rows in trio.rows] == [0, 0, 0, 0]
    fused = trio.eval([10, 20, 30], 2)
    alone = [random_model(seed).eval([10, 20, 30], 2) for seed in (1, 2, 3)]
    assert all(map(np.array_equal, trio.rows, (*alone, fused)))
    assert np.shares_memory(trio.rows.fused, fused)
    for place, row in enumerate(fused):
        mine = trio.rows_of(row)
        assert all(map(np.array_equal, mine, (rows[place] for rows in trio.rows)))
        assert [part.shape for part in mine] == [(len(trio.vocab),)] * 4


def test_rows_are_gone_with_the_next_call() -> None:
    trio = random_trio()
    row = trio.eval([1, 2], 2)[0]
    with pytest.raises(EngineError, match="none of those"):
        trio.rows_of(row.copy())
    trio.rewind(1)
    with pytest.raises(EngineError, match="none of those"):
        trio.rows_of(row)
    fakes(trio)[2].fail_on(1, Fault(EngineError("it failed")))
    with pytest.raises(EngineError):
        trio.eval([3])
    assert len(trio.rows.base) == 0


# Models that forget all or nothing


ROLES = ("base", "expert", "anti_expert")
RECURRENT = [(0, 1, 2), (0,), (1, 2), (2,)]


def recurrent_trio(which: Iterable[int]) -> Trio:
    base, expert, anti_expert = (
        FakeModel(noise(seed, fake_vocab()), can_rewind=place not in which)
        for place, seed in enumerate((1, 2, 3))
    )
    return Trio(base, expert, anti_expert)


recurrent = pytest.mark.parametrize(
    "which", RECURRENT, ids=lambda which: "+".join(ROLES[place] for place in which)
)


@recurrent
@given(first=prompts, second=prompts, said=st.integers(0, 2))
def test_what_cannot_rewind_reads_from_the_start(
    which: tuple[int, ...], first: RoleTokens, second: RoleTokens, said: int
) -> None:
    trio = recurrent_trio(which)
    assert not trio.can_rewind
    trio.eval(first)
    for token in range(said):
        trio.eval([token])
    got = trio.eval(trio.resume(second)).copy()
    assert histories(trio) == [list(tokens) for tokens in second]
    assert np.array_equal(got, random_trio().eval(second))


@recurrent
def test_what_goes_on_from_what_was_read_is_not_read_again(which: tuple[int, ...]) -> None:
    trio = recurrent_trio(which)
    trio.eval(PROMPT)
    trio.eval([50])
    more = RoleTokens(*([*tokens, 50, 60, 61] for tokens in PROMPT))
    assert trio.resume(more) == RoleTokens([60, 61], [60, 61], [60, 61])
    # Only who cannot rewind reads another text from its start.
    other = RoleTokens(*([tokens[0], 99, 98] for tokens in PROMPT))
    wanted = [other[n] if n in which else [99, 98] for n in range(3)]
    assert trio.resume(other) == RoleTokens(*wanted)


@recurrent
def test_such_a_trio_forgets_all_or_nothing(which: tuple[int, ...]) -> None:
    trio = recurrent_trio(which)
    trio.eval([1, 2, 3])
    with pytest.raises(EngineError, match="everything or nothing"):
        trio.rewind(1)
    assert histories(trio) == [[1, 2, 3]] * 3
    trio.rewind(0)
    trio.rewind(3)
    assert histories(trio) == [[], [], []]


@recurrent
@pytest.mark.parametrize("late", [False, True], ids=["before it reads", "when it has read"])
@pytest.mark.parametrize("failing", [0, 1, 2], ids=ROLES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda make: type(make()).__name__)
def test_after_a_failure_all_three_agree(
    error: Callable[[], BaseException], failing: int, late: bool, which: tuple[int, ...]
) -> None:
    trio = recurrent_trio(which)
    trio.eval(PROMPT)
    raised = error()
    fakes(trio)[failing].fail_on(1, Fault(raised, late=late))
    with pytest.raises(type(raised)) as caught:
        trio.eval([60, 61])
    assert caught.value is raised
    assert histories(trio) in ([[], [], []], [list(tokens) for tokens in PROMPT])
    assert np.array_equal(trio.eval(trio.resume(PROMPT)), random_trio().eval(PROMPT))


class Stubborn(FakeModel):
    """A model whose rewinds fail as long as `refuses` says: "", "some" or "all"."""

    refuses = ""

    def rewind(self, n: int) -> None:
        if self.refuses == "all" or (self.refuses and n < self.n_past):
            raise EngineError("it is in use by another thread")
        super().rewind(n)


@pytest.mark.parametrize("role", [0, 1, 2], ids=ROLES)
def test_where_one_cannot_go_back_all_three_forget_everything(role: int) -> None:
    models = [Stubborn(noise(seed, fake_vocab())) for seed in (1, 2, 3)]
    trio = Trio(models[0], models[1], models[2])
    trio.eval(PROMPT)
    trio.eval([50])
    models[role].refuses = "some"
    fakes(trio)[2].fail_on(1, Fault(MemoryError()))
    with pytest.raises(EngineError, match=r"forgotten all .*in use by another thread.*again"):
        trio.eval([51])
    assert histories(trio) == [[], [], []]
    assert trio.n_past == 0
    assert np.array_equal(trio.eval(PROMPT), random_trio().eval(PROMPT))
    models[role].refuses = "all"
    fakes(trio)[2].fail_on(1, Fault(MemoryError()))
    with pytest.raises(EngineError, match="out of step"):
        trio.eval([51])
    with pytest.raises(EngineError, match="out of step"):
        trio.eval([50])  # or it would go on with texts of different lengths
    with pytest.raises(EngineError):
        trio.resume(PROMPT)
    models[role].refuses = ""
    assert np.array_equal(trio.eval(trio.resume(PROMPT)), random_trio().eval(PROMPT))


def test_models_that_cannot_be_used_at_all_stay_as_they_are() -> None:
    """As closed ones, and those of the parent in a forked child: the error is their own."""
    models = [Stubborn(noise(seed, fake_vocab())) for seed in (1, 2, 3)]
    trio = Trio(models[0], models[1], models[2])
    trio.eval(PROMPT)
    for model in models:
        model.refuses = "all"
    with pytest.raises(EngineError, match=r"^it is in use by another thread$"):
        trio.resume(RoleTokens([1], [2], [3]))
    assert histories(trio) == [list(tokens) for tokens in PROMPT]
    for model in models:
        model.refuses = ""
    assert np.array_equal(trio.eval(trio.resume(PROMPT)), random_trio().eval(PROMPT))


def test_a_reply_that_comes_between_is_found() -> None:
    """The models were brought elsewhere while one of them was still evaluating."""
    trio = random_trio()
    trio.eval(PROMPT)

    class Intruder(list[int]):
        def __iter__(self) -> Iterator[int]:
            if fakes(trio)[0].history[-1:] == [60]:
                trio.resume(RoleTokens([1], [2], [3]))
            return super().__iter__()

    with pytest.raises(EngineError):
        trio.eval(RoleTokens([60], Intruder([61]), [62]))
    assert np.array_equal(trio.eval(trio.resume(PROMPT)), random_trio().eval(PROMPT))
