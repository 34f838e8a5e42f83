"""The loop: what it yields, and that the last token is never yet in the model."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.decode.stepwise import stepwise
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import ContextFullError
from tests.helpers.fakes import END, random_model, saying


def greedy(row: Logits) -> int:
    return int(row.argmax())


def test_tokens_follow_the_table() -> None:
    model = saying({"Hi": "You"})
    tokens = [token for token, _ in stepwise(list(b"Hi"), model, greedy, 4)]
    assert tokens == [*b"You", END]


def test_each_token_comes_with_the_row_it_was_drawn_from() -> None:
    model = random_model(1)
    history = [1, 2]
    for token, row in stepwise([1, 2], model, greedy, 5):
        assert row.shape == (len(model.vocab),)
        assert np.array_equal(row, random_model(1).eval(history)[-1])
        assert token == row.argmax()
        history.append(token)


def test_the_last_token_is_never_yet_in_the_model() -> None:
    model = random_model(1)
    seen = [1, 2]
    for token, _ in stepwise([1, 2], model, greedy, 5):
        assert model.history == seen
        seen.append(token)
    assert model.history == seen[:-1]


def test_no_more_tokens_than_asked_for() -> None:
    model = random_model(1)
    assert len(list(stepwise([1], model, greedy, 3))) == 3
    assert list(stepwise([1], model, greedy, 0)) == []


def test_the_prompt_is_evaluated_at_once_and_then_token_by_token() -> None:
    model = random_model(1)
    list(stepwise([1, 2, 3], model, greedy, 3))
    assert list(map(len, model.evals)) == [3, 1, 1]


def test_a_trio_takes_a_prompt_for_each_role() -> None:
    trio = Trio(random_model(1), random_model(2), random_model(3))
    tokens = [t for t, _ in stepwise(RoleTokens([1], [2, 3], [4]), trio, greedy, 3)]
    assert [m.n_past for m in trio.models] == [3, 4, 3]
    assert len(tokens) == 3


def test_a_full_context_stops_it_with_an_error() -> None:
    steps = stepwise([1, 2], random_model(1, n_ctx=3), greedy, 10)
    assert len([next(steps), next(steps)]) == 2
    with pytest.raises(ContextFullError):
        next(steps)
