"""When the held-out loss is looked at, on how many examples, and what it is."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.tune.batches import Batch, needed
from edgeproxy.tune.held_out import HeldOut
from edgeproxy.tune.loss import total_loss
from tests.helpers.tuning import N_VOCAB, example, tiny, toy

pytestmark = pytest.mark.usefixtures("one_thread")


def held_out(examples: list[Any], training_tokens: int = 10_000) -> HeldOut:
    return HeldOut(examples, training_tokens, 64, N_VOCAB)


def test_the_loss_is_the_mean_over_all_predicted_tokens() -> None:
    network, examples = tiny(), toy(30)
    looks: list[None] = []
    found = held_out(examples).loss(network, lambda: looks.append(None))
    batch = Batch.of(examples)
    expected = total_loss(network, batch, N_VOCAB) / len(batch.targets)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(looks) > 1


def test_what_predicts_nothing_is_left_out() -> None:
    assert not held_out([])
    assert not held_out([example([3], [])])
    assert held_out([example([3], []), example([3], [4])]).n_tokens == 1


def test_it_is_looked_at_once_in_a_short_epoch_and_more_often_in_a_long_one() -> None:
    few = held_out(toy(20))
    assert few.steps(1) == {1}
    assert few.steps(39) == {39}
    assert few.steps(53) == {26, 53}
    assert few.steps(10_000) == {2500, 5000, 7500, 10_000}
    assert held_out([]).steps(53) == set()


def test_where_it_costs_much_it_is_looked_at_less_often() -> None:
    examples = toy(60)
    tokens = sum(map(needed, examples))
    assert len(held_out(examples, 2 * tokens).steps(10_000)) == 1
    assert len(held_out(examples, 5 * tokens).steps(10_000)) == 2


def test_of_very_many_examples_some_are_looked_at() -> None:
    examples = toy(1000)
    tokens = sum(map(needed, examples))
    assert held_out(examples, 100 * tokens).n_tokens == tokens
    some = held_out(examples, tokens).n_tokens
    assert 0.3 * tokens < some < 0.6 * tokens
    # But never too few to say anything.
    few = held_out(examples, 10)
    assert 60 * 2 < few.n_tokens < 0.1 * tokens


def test_patience_is_an_epoch_at_least() -> None:
    assert held_out(toy(20)).patience(1) == 3
    assert held_out(toy(20)).patience(10_000) == 4
