"""The training loop on a network of a few hundred numbers: what it learns, keeps, and refuses."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeproxy.errors import OutOfMemoryError, TuningError
from edgeproxy.tune.lora import parameters
from edgeproxy.tune.progress import Plan, Progress, Trained
from edgeproxy.tune.settings import Settings
from edgeproxy.tune.train import train
from tests.helpers.tuning import SETTINGS, example, tiny, toy

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = "0" * 64


def numbers(network: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in parameters(network).items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def run(network: Any, settings: Settings = SETTINGS, **options: Any) -> Trained:
    given: dict[str, Any] = {"training": toy(60), "held_out": toy(20, 1), "model": MODEL}
    given |= options
    return train(network, given.pop("training"), given.pop("held_out"), settings, **given)


class Stop:
    """Says that it is to stop from its `after`th look on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


class Clock:
    """A clock that goes on by `step` seconds with each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_toy_mapping_is_learnt() -> None:
    network = tiny(rank=16)
    settings = replace(SETTINGS, epochs=20, rank=16, batch=8, micro_tokens=512)
    trained = run(network, settings, training=toy(200), held_out=toy(50, 1))
    assert trained.first_loss is not None
    assert trained.best_loss is not None
    assert trained.first_loss > math.log(32)
    assert trained.best_loss < 0.4 * trained.first_loss


def test_a_few_examples_are_learnt_by_heart() -> None:
    training = toy(6)
    settings = replace(SETTINGS, epochs=100, rank=16)
    trained = run(tiny(rank=16), settings, training=training, held_out=training)
    assert trained.best_loss is not None
    assert trained.best_loss < 0.1


def test_nothing_but_a_and_b_changes() -> None:
    network = tiny()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    start = numbers(network)
    run(network)
    assert all(torch.equal(before[name], now) for name, now in network.named_buffers())
    assert not same(start, numbers(network))


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    networks = [tiny() for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        run(network, replace(SETTINGS, seed=seed))
    assert same(numbers(networks[0]), numbers(networks[1]))
    assert not same(numbers(networks[0]), numbers(networks[2]))


def test_what_is_heard_begins_with_a_plan_and_ends_with_all_steps() -> None:
    events: list[Plan | Progress] = []
    trained = run(tiny(), heard=events.append)
    plan, *rest = events
    assert isinstance(plan, Plan)
    assert (plan.step, plan.steps, plan.threads, plan.dtype) == (0, 60, 1, "float32")
    assert plan.seconds > 0
    assert plan.tokens_per_second > 0
    progress = [event for event in rest if isinstance(event, Progress)]
    assert [p.step for p in progress if p.rate] == list(range(1, 61))
    assert {p.epoch for p in progress} == {1, 2, 3, 4}
    assert progress[-1].seconds_left == 0
    assert progress[-1].held_out_loss == progress[-1].best_loss == trained.best_loss
    assert [p.step for p in progress if not p.rate] == [0, 15, 30, 45, 60]
    assert (trained.steps, trained.epochs, trained.ending) == (60, 4.0, "epochs")
    assert math.isfinite(trained.loss)


def test_the_number_of_threads_is_put_back() -> None:
    torch.set_num_threads(2)
    seen = set()
    run(tiny(), heard=lambda _: seen.add(torch.get_num_threads()))
    assert 1 in seen
    assert torch.get_num_threads() == 2


def test_threads_are_tried_where_none_are_given() -> None:
    assert run(tiny(), replace(SETTINGS, threads=None)).threads >= 1


# What is held out contradicts the examples, so that its loss rises in the end.
CONTRARY = [example([2, 3, n], [n - 1, 1]) for n in range(4, 30)]


def test_the_best_is_kept_and_training_ends_when_it_becomes_no_better() -> None:
    network = tiny()
    losses: list[float] = []

    def hear(event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.rate == 0 and event.step:
            assert event.held_out_loss is not None
            losses.append(event.held_out_loss)

    settings = replace(SETTINGS, epochs=30, rate=0.05)
    trained = run(network, settings, held_out=CONTRARY, heard=hear)
    assert trained.ending == "no better"
    assert trained.steps < 30 * 15
    assert trained.best_loss == min(losses) < losses[-1]
    assert trained.best_step == 15 * (losses.index(min(losses)) + 1)
    # What is in the network has that loss.
    again = run(network, replace(settings, epochs=1), held_out=CONTRARY)
    assert again.first_loss == pytest.approx(trained.best_loss, rel=1e-6)


def test_without_held_out_examples_all_epochs_are_done() -> None:
    network = tiny()
    trained = run(network, held_out=[])
    assert (trained.best_loss, trained.first_loss, trained.ending) == (None, None, "epochs")
    assert trained.best_step == trained.steps == 60
    other = tiny()
    run(other, held_out=[example([3], [])])  # nothing in it is predicted
    assert same(numbers(network), numbers(other))


def test_one_example_is_enough() -> None:
    trained = run(tiny(), training=[example([3], [4])], held_out=[])
    assert trained.steps == 4


@pytest.mark.parametrize("training", [[], [example([3, 4], [])]], ids=["none", "no reply"])
def test_nothing_to_learn_is_an_error(training: Sequence[Any]) -> None:
    with pytest.raises(TuningError, match="none of the examples has a reply"):
        run(tiny(), training=training)


def test_examples_go_through_in_parts_with_the_same_result() -> None:
    networks = [tiny() for _ in range(2)]
    for network, tokens in zip(networks, (1, 10_000), strict=True):
        run(network, replace(SETTINGS, micro_tokens=tokens, epochs=1))
    for one, other in zip(*(numbers(n).values() for n in networks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("looks", [0, 1, 5, 30, 100, 600, 900])
def test_stopping_keeps_the_best_so_far(looks: int, tmp_path: Path) -> None:
    network = tiny()
    path = tmp_path / "tuning.npz"
    trained = run(network, is_stopping=Stop(looks), checkpoint=path)
    assert trained.ending == "stopped"
    assert trained.steps < 60
    if trained.best_loss is not None:
        assert trained.best_step % 15 == 0
    # And nothing is lost: it goes on to the same end.
    network, whole = tiny(), tiny()
    resumed = run(network, checkpoint=path, resume=True)
    expected = run(whole)
    assert same(numbers(network), numbers(whole))
    assert resumed.best_loss == expected.best_loss
    assert (resumed.steps, resumed.ending) == (60, "epochs")


def test_stopping_before_an_evaluation_keeps_what_there_is() -> None:
    network = tiny()
    start = numbers(network)
    trained = run(network, held_out=[], is_stopping=Stop(200))
    assert trained.best_loss is None
    assert trained.best_step == trained.steps > 0
    assert not same(start, numbers(network))


def test_what_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    path, networks = tmp_path / "tuning.npz", [tiny(), tiny()]
    first = run(networks[0], checkpoint=path, clock=Clock(0.1))
    events: list[Any] = []
    second = run(networks[1], checkpoint=path, resume=True, heard=events.append, clock=Clock(0.1))
    assert events == []
    assert same(numbers(networks[0]), numbers(networks[1]))
    assert (second.best_loss, second.steps, second.ending) == (first.best_loss, 60, "epochs")
    assert second.seconds == pytest.approx(first.seconds, abs=1)


def test_the_ways_of_a_resumed_tuning_are_the_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    run(tiny(), checkpoint=path, is_stopping=Stop(600))
    network, whole = tiny(), tiny()
    other = replace(SETTINGS, threads=None, micro_tokens=512)
    assert run(network, other, checkpoint=path, resume=True).threads == 1
    run(whole)
    assert same(numbers(network), numbers(whole))


def test_weights_in_another_dtype_do_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    run(tiny(), checkpoint=path, is_stopping=Stop(600))
    with pytest.raises(TuningError, match="begun with weights in float32, and these are in bfloat"):
        run(tiny(dtype=torch.bfloat16), checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": replace(SETTINGS, rate=0.02)}, "rate 0.01 and not 0.02"),
        ({"settings": replace(SETTINGS, epochs=5)}, "epochs 4 and not 5"),
        ({"training": toy(61)}, "other examples to train on"),
        ({"held_out": toy(21, 1)}, "other examples held out"),
        ({"model": "1" * 64}, "another model file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_something_else_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "tuning.npz"
    run(tiny(), checkpoint=path, is_stopping=Stop(600))
    before = path.read_bytes()
    with pytest.raises(TuningError, match=words) as error:
        run(tiny(), checkpoint=path, resume=True, **change)
    assert "--resume" in str(error.value)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    run(tiny(rank=8), checkpoint=path, is_stopping=Stop(600))
    with pytest.raises(TuningError, match="other A and B"):
        run(tiny(), checkpoint=path, resume=True)


def poisoned(after: int) -> Callable[[Any], Any]:
    """Makes a network's hidden states NaN from the `after`th pass with gradients on."""

    def poison(network: Any) -> Any:
        hidden, left = network.hidden, [after]

        def bad(tokens: torch.Tensor) -> torch.Tensor:
            left[0] -= torch.is_grad_enabled()
            return hidden(tokens) * (math.nan if left[0] < 0 else 1.0)

        network.hidden = bad
        return network

    return poison


def test_a_loss_that_is_no_number_is_one_error_and_the_best_stays(tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    network = poisoned(50)(tiny())
    with pytest.raises(TuningError, match=r"loss is nan.* of 60.*lower --rate than 0\.01") as error:
        run(network, checkpoint=path)
    assert str(path) in str(error.value)
    assert all(np.isfinite(array).all() for array in numbers(network).values())
    assert [file.name for file in tmp_path.iterdir()] == ["tuning.npz"]
    # What is kept is of before that step: a sound network goes on from there.
    sound, whole = tiny(), tiny()
    run(sound, checkpoint=path, resume=True)
    run(whole)
    assert same(numbers(sound), numbers(whole))


def test_a_rate_that_is_too_high_is_an_error_or_a_number() -> None:
    network = tiny()
    with contextlib.suppress(TuningError):
        run(network, replace(SETTINGS, rate=1.0, epochs=30))
    assert all(np.isfinite(array).all() for array in numbers(network).values())


def test_a_held_out_loss_that_is_no_number_is_an_error() -> None:
    network = tiny()
    hidden = network.hidden
    network.hidden = lambda tokens: hidden(tokens) * (1 if torch.is_grad_enabled() else math.nan)
    with pytest.raises(TuningError, match="held-out loss is nan"):
        run(network)


def test_a_time_limit_shortens_the_schedule_so_that_the_rate_falls_to_nothing() -> None:
    events: list[Progress] = []

    def hear(event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.rate:
            events.append(event)

    # Each look at the clock takes a tenth of a second, a step some three to five of them.
    settings = replace(SETTINGS, epochs=100, minutes=1.0)
    trained = run(tiny(), settings, heard=hear, clock=Clock(0.1))
    assert trained.ending == "minutes"
    assert 20 < trained.steps < 1500
    assert trained.seconds == pytest.approx(60, abs=5)
    assert trained.best_loss is not None
    assert max(event.rate for event in events) > 0.009
    assert events[-1].rate < 0.001


def test_an_earlier_run_counts_toward_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    settings = replace(SETTINGS, epochs=100, minutes=1.0)
    run(tiny(), settings, checkpoint=path, clock=Clock(0.1), is_stopping=Stop(2000))
    resumed = run(tiny(), settings, checkpoint=path, resume=True, clock=Clock(0.1))
    assert resumed.ending == "minutes"
    assert resumed.seconds == pytest.approx(60, abs=5)


def test_a_limit_that_is_too_short_for_a_step_says_how_long_all_would_take() -> None:
    with pytest.raises(TuningError, match=r"--minutes 0\.01 are over before the first of 60 steps"):
        run(tiny(), replace(SETTINGS, minutes=0.01), clock=Clock(10))


def test_no_memory_is_one_error() -> None:
    network = tiny()

    def fails(_: object) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    network.hidden = fails
    with pytest.raises(OutOfMemoryError, match="--batch"):
        run(network)


def test_other_errors_of_pytorch_are_not_hidden() -> None:
    network = tiny()
    network.hidden = lambda tokens: torch.zeros(1, 2) @ torch.zeros(3, 4)
    with pytest.raises(RuntimeError, match="shapes"):
        run(network)
