"""Scoring given tokens: the figures of one evaluation a token, with fewer evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproxy.align import LACKING, align
from edgeproxy.core.cancel import Flag
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.scoring import AT_ONCE, LEAST, log_probabilities
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import Cancelled, ContextFullError, EngineError
from edgeproxy.llama.params import MAX_ROWS
from tests.helpers.fakes import FakeModel, Fault, fake_vocab, random_model, random_trio
from tests.helpers.tokenizing import LARGE, PIECES

PROMPT = RoleTokens([1, 2, 3], [4, 5], [6])


def softmax_of(row: Logits, token: int) -> float:
    """log softmax, in float64."""
    wide = np.asarray(row, np.float64)
    return float(wide[token] - np.log(np.exp(wide - wide.max()).sum()) - wide.max())


@pytest.mark.parametrize("count", [1, 2, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 1, 100])
def test_figures_are_those_of_one_evaluation_a_token(count: int) -> None:
    said = [(7 * n) % 256 for n in range(count)]
    trio = random_trio(0.7)
    found = log_probabilities(PROMPT, said, trio)
    models = [random_model(seed) for seed in (1, 2, 3)]
    rows = [model.eval(part)[0] for model, part in zip(models, PROMPT, strict=True)]
    plain = []
    for token in said:
        base, expert, anti_expert = rows
        plain.append(softmax_of(base + np.float32(0.7) * (expert - anti_expert), token))
        rows = [model.eval([token])[0] for model in models]
    assert found == pytest.approx(plain, abs=1e-4)
    # The last token is not read: whoever goes on has nothing to take back.
    assert trio.n_past == len(PROMPT.base) + count - 1


def test_one_model_alone_is_scored_as_well() -> None:
    model, plain = random_model(5), random_model(5)
    found = log_probabilities([1, 2], [3, 4, 5], model)
    rows = [plain.eval([1, 2])[0].copy(), plain.eval([3])[0].copy(), plain.eval([4])[0]]
    wanted = [softmax_of(row, token) for row, token in zip(rows, [3, 4, 5], strict=True)]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_as_many_rows_as_llama_cpp_gives() -> None:
    assert AT_ONCE <= MAX_ROWS
    model = random_model(1)
    log_probabilities([1], [2] * 70, model)
    assert list(map(len, model.evals)) == [1, 32, 32, 5]


def test_nothing_said_is_nothing_read() -> None:
    model = random_model(1)
    assert log_probabilities([1, 2], [], model) == []
    assert model.evals == []


def test_a_token_that_is_ruled_out_has_a_finite_figure() -> None:
    row = np.zeros(len(fake_vocab()), np.float32)
    row[7] = -np.inf
    assert log_probabilities([1], [7, 8], FakeModel(lambda _: row))[0] == LEAST


def test_a_cancel_is_heard_between_evaluations() -> None:
    flag, model = Flag(), random_model(1)
    flag.set()
    with pytest.raises(Cancelled):
        log_probabilities([1], [2, 3], model, flag)
    assert model.evals == []


def test_a_full_context_is_told() -> None:
    with pytest.raises(ContextFullError):
        log_probabilities([1, 2], [3] * 20, random_model(1, n_ctx=10))


# A pair with a tokenizer of its own


def pair_of_pieces(steering: Steering, own: Vocab = PIECES) -> Trio:
    pair = align(random_model(2, vocab=own), random_model(3, vocab=own), LARGE)
    return Trio(random_model(1, vocab=LARGE), pair.expert, pair.anti_expert, steering)


def test_tokens_that_do_not_lead_are_made_exact() -> None:
    trio = pair_of_pieces(Steering(0.5, base_weight=0.8))
    assert trio.is_stepwise
    changed = 0
    for text in ("hello there, the wo", "2024 is the", "abab an"):
        prompt = LARGE.encode(text)
        for token in map(LARGE.tokens.index, (b" world", b"there", b"hello", b"2024", b"x")):
            trio.resume(RoleTokens([], [], []))
            before = trio.eval(RoleTokens(prompt, prompt, prompt))[0].copy()
            row = trio.exact_for(token).copy()
            others = np.arange(len(row)) != token
            assert np.array_equal(before[others], row[others])
            rows = trio.rows
            assert np.array_equal(
                row, fuse(rows.base, rows.expert, rows.anti_expert, trio.steering)[0]
            )
            assert rows.expert[0, token] > LACKING
            changed += bool(before[token] != row[token])
            assert np.array_equal(row, trio.exact_for(token))
    assert changed


def test_figures_of_such_a_pair_are_of_the_exact_rows() -> None:
    said = LARGE.encode(" world, the other is 2024 and")
    prompt = LARGE.encode("hello there, the")
    found = log_probabilities(RoleTokens(prompt, prompt, prompt), said, pair_of_pieces(Steering()))
    trio = pair_of_pieces(Steering())
    tokens: RoleTokens | list[int] = RoleTokens(prompt, prompt, prompt)
    plain, leading = [], []
    for token in said:
        leading.append(softmax_of(trio.eval(tokens)[0], token))
        plain.append(softmax_of(trio.exact_for(token), token))
        tokens = [token]
    assert found == pytest.approx(plain, abs=1e-4)
    assert found != pytest.approx(leading, abs=1e-2)


def test_one_row_alone_is_made_exact() -> None:
    trio = random_trio()
    trio.eval(PROMPT)
    assert np.array_equal(trio.exact_for(5), trio.rows.fused[0])
    trio.eval([1, 2], 2)
    with pytest.raises(EngineError, match="there are 2"):
        trio.exact_for(5)


def test_a_failure_of_it_leaves_the_trio_as_it_was() -> None:
    trio = pair_of_pieces(Steering())
    prompt = LARGE.encode("hello there, the")
    tokens = [LARGE.tokens.index(word) for word in (b" world", b"there", b"2024", b"hello")]
    trio.eval(RoleTokens(prompt, prompt, prompt))
    inner: Any = trio.expert
    inner.model.fail_on(1, Fault(EngineError("broken")))
    with pytest.raises(EngineError, match="broken"):
        list(map(trio.exact_for, tokens))
    fresh = pair_of_pieces(Steering())
    fresh.eval(RoleTokens(prompt, prompt, prompt))
    follow = tokens[:1]
    assert trio.n_past == fresh.n_past
    np.testing.assert_allclose(trio.eval(follow), fresh.eval(follow), atol=1e-4)
