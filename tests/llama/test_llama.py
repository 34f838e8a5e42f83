"""llama.cpp behind the `Model` interface: its invariants, and that nothing kills the process."""

from __future__ import annotations

import gc
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.model import Logits
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.errors import (
    Cancelled,
    ContextFullError,
    EdgeproxyError,
    EngineError,
    LogitsError,
    UsageError,
)
from edgeproxy.llama import MAX_ROWS, LlamaModel, Weights
from edgeproxy.llama.library import lib, set_fields
from edgeproxy.trios.find import Recipe
from tests.helpers.gguf_files import draft
from tests.helpers.near import NEAR, NEAR_QUANTISED, assert_near


def tokens_of(n: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(3, 260, n)]


def fresh_rows(weights: Weights, tokens: Sequence[int], rows: int = 1) -> Logits:
    model = LlamaModel(weights, n_ctx=1024)
    got: Logits = model.eval(tokens, rows).copy()
    model.close()
    return got


@pytest.fixture
def model(tiny: Weights) -> Iterator[LlamaModel]:
    made = LlamaModel(tiny, n_ctx=1024)
    yield made
    made.close()


class Watched(threading.Event):
    """A cancel event that does something each time the engine asks it, while it evaluates."""

    def __init__(self, act: Callable[[Watched], None]) -> None:
        super().__init__()
        self.asked = 0
        self._act = act

    def is_set(self) -> bool:
        self.asked += 1
        self._act(self)
        return super().is_set()


# Rows


@pytest.mark.parametrize("cut", [1, 200, 255, 256, 257, 512, 568])
def test_rows_do_not_depend_on_how_the_tokens_came(tiny: Weights, cut: int) -> None:
    tokens = tokens_of(600)
    whole = fresh_rows(tiny, tokens, MAX_ROWS)
    model = LlamaModel(tiny, n_ctx=1024)
    model.eval(tokens[:cut])
    assert_near(model.eval(tokens[cut:], MAX_ROWS), whole)


def test_the_tolerance_would_show_another_token(tiny: Weights) -> None:
    tokens = tokens_of(600)
    other = [tokens[0] + 1, *tokens[1:]]
    difference = np.abs(fresh_rows(tiny, tokens, 32) - fresh_rows(tiny, other, 32))
    assert difference.max() > 100 * NEAR


@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 256, 257, 288, 300, 513])
def test_as_many_rows_come_back_as_were_asked_for(model: LlamaModel, n: int) -> None:
    tokens = tokens_of(n)
    for rows in {1, min(n, 2), min(n, MAX_ROWS)}:
        got = model.eval(tokens, rows)
        assert got.shape == (rows, len(model.vocab))
        assert got.dtype == np.float32
        assert model.n_past == n
        model.rewind(n)


def test_rows_are_those_that_follow_the_last_tokens(tiny: Weights, model: LlamaModel) -> None:
    tokens = tokens_of(40)
    together = model.eval(tokens, 8).copy()
    for n in range(8):
        alone = fresh_rows(tiny, tokens[: 33 + n])
        assert_near(together[n], alone[0])


def test_rewinding_and_evaluating_again_equals_a_fresh_eval(
    tiny: Weights, model: LlamaModel
) -> None:
    model.eval(tokens_of(100, seed=1))
    model.rewind(100)
    assert model.n_past == 0
    assert_near(model.eval(tokens_of(50)), fresh_rows(tiny, tokens_of(50)))
    tokens = tokens_of(80)
    twin = LlamaModel(tiny, n_ctx=1024)
    twin.eval(tokens[:50])
    model.eval(tokens_of(200, seed=2))
    model.rewind(200)
    assert_near(model.eval(tokens[50:], 5), twin.eval(tokens[50:], 5))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=6))
def test_rows_depend_only_on_what_was_not_rewound(
    tiny: Weights, steps: list[tuple[int, int]]
) -> None:
    model, history = LlamaModel(tiny, n_ctx=1024), list[int]()
    for n, back in steps:
        tokens = tokens_of(n, seed=n)
        model.eval(tokens)
        history += tokens
        back = min(back, len(history))
        model.rewind(back)
        history = history[: len(history) - back]
        assert model.n_past == len(history)
    got = model.eval([5, 6]).copy()
    model.close()
    assert_near(got, fresh_rows(tiny, [*history, 5, 6]))


@pytest.mark.weights
def test_the_shipped_base_does_not_depend_on_batches_either(base_weights: Weights) -> None:
    tokens = [int(t) for t in np.random.default_rng(0).integers(3, len(base_weights.vocab), 300)]
    whole, parts = LlamaModel(base_weights), LlamaModel(base_weights)
    wanted = whole.eval(tokens, 8).copy()
    parts.eval(tokens[:290])
    assert_near(parts.eval(tokens[290:], 8), wanted, NEAR_QUANTISED)
    whole.rewind(300)
    assert_near(whole.eval(tokens, 8), wanted, NEAR_QUANTISED)


# Limits


def test_a_full_context_is_an_error_and_leaves_the_state(tiny: Weights) -> None:
    model = LlamaModel(tiny, n_ctx=20)
    model.eval(tokens_of(15))
    with pytest.raises(ContextFullError, match="21 tokens do not fit the context of 20"):
        model.eval(tokens_of(6))
    assert model.n_past == 15
    twin = LlamaModel(tiny, n_ctx=20)
    twin.eval(tokens_of(15))
    assert_near(model.eval([7] * 5), twin.eval([7] * 5))
    assert model.n_past == model.n_ctx == 20
    with pytest.raises(ContextFullError):
        model.eval([7])


@pytest.mark.parametrize("token", [-1, 268, 2**31, 2**32 + 5])
@pytest.mark.parametrize("before", [0, 300])
def test_a_token_out_of_range_never_reaches_llama_cpp(
    model: LlamaModel, token: int, before: int
) -> None:
    with pytest.raises(EngineError, match=f"token {token} is outside the vocabulary of 268"):
        model.eval([5] * before + [token])
    assert model.n_past == 0


@pytest.mark.parametrize(("n", "rows"), [(0, 1), (3, 0), (3, -1), (3, 4), (100, MAX_ROWS + 1)])
def test_an_impossible_number_of_rows_is_refused(model: LlamaModel, n: int, rows: int) -> None:
    with pytest.raises(EngineError, match=f"{rows} rows asked of {n} tokens"):
        model.eval([5] * n, rows)


@pytest.mark.parametrize("n", [-1, 4])
def test_a_model_cannot_forget_what_it_has_not_read(model: LlamaModel, n: int) -> None:
    model.eval([5, 6, 7])
    with pytest.raises(EngineError, match=f"cannot forget {n} tokens of 3"):
        model.rewind(n)
    assert model.n_past == 3


@pytest.mark.parametrize("n_ctx", [0, -1, 2**20 + 1])
def test_an_impossible_context_is_refused(tiny: Weights, n_ctx: int) -> None:
    with pytest.raises(UsageError, match=f"the context must be 1 to .* not {n_ctx}"):
        LlamaModel(tiny, n_ctx=n_ctx)


def test_other_impossible_settings_are_refused(tiny: Weights) -> None:
    for threads in (0, -1, 513):
        with pytest.raises(UsageError, match="threads"):
            LlamaModel(tiny, n_threads=threads)
    with pytest.raises(UsageError, match="KV cache type must be one of f16, q8_0"):
        LlamaModel(tiny, kv_type="q1")  # type: ignore[arg-type]


def test_the_context_is_what_the_model_was_trained_with(tiny: Weights) -> None:
    assert LlamaModel(tiny).n_ctx == tiny.n_ctx_train == 2048


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(EngineError, match="'use_mmap'"):
        set_fields(lib.llama_model_default_params(), use_mmap=True)


def test_weights_that_are_not_numbers_give_no_row(tmp_path: Path) -> None:
    made = draft("llama")
    made.data["output_norm.weight"] = struct.pack("<f", float("nan")) * 32
    with Weights(made.write(tmp_path / "nan.gguf")) as broken:
        model = LlamaModel(broken)
        with pytest.raises(LogitsError, match=r"nan\.gguf.*not numbers"):
            model.eval([5])
        assert model.n_past == 0


# Threads, closing, memory


def test_a_second_thread_is_refused_and_the_first_goes_on(tiny: Weights) -> None:
    refused: list[EngineError] = []

    def intrude() -> None:
        try:
            busy.eval([5])
        except EngineError as error:
            refused.append(error)

    def act(event: Watched) -> None:
        if event.asked == 1:
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()

    busy = LlamaModel(tiny, n_ctx=1024, cancel=Watched(act))
    got = busy.eval(tokens_of(30))
    assert "another thread" in str(refused[0])
    assert_near(got, fresh_rows(tiny, tokens_of(30)))


def test_two_contexts_share_weights_on_two_threads(tiny: Weights) -> None:
    rows: dict[int, Logits] = {}

    def work(seed: int) -> None:
        rows[seed] = fresh_rows(tiny, tokens_of(200, seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        assert_near(rows[seed], fresh_rows(tiny, tokens_of(200, seed)))


def test_closing_twice_is_fine_and_a_closed_model_does_nothing(tiny: Weights) -> None:
    model = LlamaModel(tiny)
    kept = model.eval([5]).copy()
    row = model.eval([6])
    model.close()
    model.close()
    assert row.shape == kept.shape  # a row that someone still holds outlives the model
    assert np.isfinite(row).all()
    with pytest.raises(EngineError, match="closed"):
        model.eval([5])
    with pytest.raises(EngineError, match="closed"):
        model.rewind(0)


def test_closing_weights_closes_their_contexts(tiny_file: Path) -> None:
    weights = Weights(tiny_file)
    model, vocab = LlamaModel(weights), weights.vocab
    assert vocab.encode("the")
    weights.close()
    weights.close()
    for use in (
        lambda: model.eval([5]),
        lambda: vocab.encode("the"),
        lambda: weights.n_params,
        lambda: LlamaModel(weights),
    ):
        with pytest.raises(EngineError, match="closed"):
            use()
    assert vocab.tokens[0] == b"<|endoftext|>"


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_is_given_back(factbook_recipe: Recipe) -> None:
    path = factbook_recipe.base.path

    def resident() -> int:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cycle() -> None:
        with Weights(path, mmap=False) as weights:
            LlamaModel(weights).eval([5] * 100)

    for _ in range(3):
        cycle()
    before = resident()
    for _ in range(20):
        cycle()
    # The allocator keeps a little; weights or contexts kept each time would be twenty of them.
    assert resident() - before < 4 * path.stat().st_size


# Cancelling


def test_cancelling_stops_a_long_prompt_and_leaves_the_state(tiny: Weights) -> None:
    def act(event: Watched) -> None:
        if event.asked == 40:
            event.set()

    cancel = Watched(act)
    model = LlamaModel(tiny, n_ctx=1024, cancel=cancel)
    with pytest.raises(Cancelled):
        model.eval(tokens_of(900))
    assert model.n_past == 0
    cancel.clear()
    assert_near(model.eval(tokens_of(300)), fresh_rows(tiny, tokens_of(300)))
    cancel.asked = 0
    with pytest.raises(Cancelled):
        model.eval(tokens_of(700, seed=1))
    assert model.n_past == 300


def test_another_thread_may_cancel(tiny: Weights) -> None:
    begun, done = threading.Event(), threading.Event()

    def act(event: Watched) -> None:
        if event.asked == 1:
            begun.set()
            done.wait(60)

    cancel = Watched(act)

    def canceller() -> None:
        begun.wait(60)
        cancel.set()
        done.set()

    thread = threading.Thread(target=canceller)
    thread.start()
    model = LlamaModel(tiny, n_ctx=1024, cancel=cancel)
    with pytest.raises(Cancelled):
        model.eval(tokens_of(900))
    thread.join()
    assert model.n_past == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_during_a_prompt_reaches_the_caller(
    tiny: Weights, error: type[BaseException]
) -> None:
    def act(event: Watched) -> None:
        if event.asked == 40:
            raise error

    model = LlamaModel(tiny, n_ctx=1024, cancel=Watched(act))
    with pytest.raises(error):
        model.eval(tokens_of(900))
    assert model.n_past == 0
    assert_near(model.eval(tokens_of(20)), fresh_rows(tiny, tokens_of(20)))


# What needs a model's own tokenizer


def test_dry_lowers_what_would_repeat(tiny: Weights) -> None:
    row = np.full(len(tiny.vocab), -10.0, np.float32)
    row[[100, 101]] = 5.0, 4.0
    plain = Sampler(tiny.vocab, Sampling())
    dry = Sampler(tiny.vocab, Sampling(dry_multiplier=5.0), tiny)
    assert [plain(row) for _ in range(6)] == [100] * 6
    drawn = [dry(row) for _ in range(6)]
    assert drawn[:2] == [100, 100]
    assert 101 in drawn


def test_every_error_is_one_of_ours(tiny: Weights) -> None:
    assert issubclass(EngineError, EdgeproxyError)
    assert tiny.can_rewind
