"""Which examples go together, in which order, and the tensors that are made of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edgeproxy.tune.batches import Batch, Order, epoch_steps, micro_batches, n_predicted, needed
from tests.helpers.tuning import example, toy


def lengths_of(count: int) -> list[int]:
    chance = random.Random(3)
    return [chance.randint(1, 200) for _ in range(count)]


@pytest.mark.parametrize(("count", "batch"), [(1, 8), (7, 8), (8, 8), (9, 8), (420, 8), (100, 1)])
def test_every_example_is_in_one_step_of_about_the_batch(count: int, batch: int) -> None:
    steps = epoch_steps(lengths_of(count), batch, 0, 0)
    assert sorted(place for step in steps for place in step) == list(range(count))
    sizes = {len(step) for step in steps}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_the_order_follows_from_seed_and_epoch() -> None:
    lengths = lengths_of(100)
    assert epoch_steps(lengths, 8, 5, 2) == epoch_steps(lengths, 8, 5, 2)
    orders = [epoch_steps(lengths, 8, seed, epoch) for seed, epoch in ((5, 2), (5, 3), (6, 2))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_order_is_the_same_on_every_machine() -> None:
    # Whatever this is, checkpoints of earlier versions go on with it.
    assert epoch_steps([5, 1, 4, 2, 3], 2, 0, 0) == [[1], [2, 0], [3, 4]]


def test_examples_of_a_step_are_of_similar_length() -> None:
    lengths = lengths_of(800)
    steps = epoch_steps(lengths, 8, 0, 0)
    padded = sum(len(step) * max(lengths[n] for n in step) for step in steps)
    assert padded < 1.15 * sum(lengths)
    # Nor do the long ones come last.
    means = [sum(lengths[n] for n in step) / len(step) for step in steps]
    assert means != sorted(means)


def test_parts_hold_as_many_tokens_as_allowed() -> None:
    lengths = lengths_of(100)
    parts = list(micro_batches(range(100), lengths, 300))
    assert sorted(place for part in parts for place in part) == list(range(100))
    assert all(len(part) * max(lengths[n] for n in part) <= 300 for part in parts)
    assert len(parts) < 60


def test_an_example_longer_than_allowed_goes_alone() -> None:
    assert list(micro_batches(range(3), [5, 50, 5], 10)) == [[1], [0, 2]]


def test_a_batch_predicts_replies_from_what_stands_before_them() -> None:
    batch = Batch.of([example([7, 8], [9, 1], [4, 4]), example([5], [6])])
    assert batch.tokens.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert batch.places.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [9, 1, 6]
    assert batch.n_read == 4


def test_a_reply_at_the_very_beginning_is_predicted_from_its_second_token_on() -> None:
    tokens = example([], [5, 6])
    assert (needed(tokens), n_predicted(tokens)) == (1, 1)
    assert Batch.of([tokens]).targets.tolist() == [6]


def test_several_replies_in_one_example_are_all_predicted() -> None:
    tokens = example([3], [4], [5])
    both = type(tokens)(
        np.concatenate([tokens.ids, tokens.ids]),
        np.concatenate([tokens.is_reply, tokens.is_reply]),
    )
    batch = Batch.of([both])
    assert batch.targets.tolist() == [4, 4]
    assert batch.places.tolist() == [0, 3]


def test_examples_that_predict_nothing_are_left_out_of_the_order() -> None:
    examples = [example([3, 4], []), *toy(5), example([], [2])]
    order = Order(examples, 2, 0)
    assert sorted(order.lengths) == [1, 2, 3, 4, 5]
    assert order.per_epoch == 3
    seen = [place for step in range(3) for place in order.step(step)]
    assert sorted(seen) == [1, 2, 3, 4, 5]
    assert [order.step(4) for _ in range(2)] == [order.step(4)] * 2


def test_a_trial_is_of_middling_examples() -> None:
    order = Order([example([2] * n, [1]) for n in range(1, 100)], 8, 0)
    assert order.typical(150) == [49, 48, 47]
    assert order.typical(1) == [49]
