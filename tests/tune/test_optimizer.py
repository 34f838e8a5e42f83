"""AdamW: the same as PyTorch's, and its state taken and put back."""

from __future__ import annotations

import math

import pytest
import torch

from edgeproxy.tune.optimizer import Optimizer, copied, fill, numbers


def parameter(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.nn.Parameter(torch.randn(*shape, generator=generator))


def push(tensors: dict[str, torch.Tensor], step: int, size: float = 0.1) -> None:
    for n, tensor in enumerate(tensors.values()):
        places = torch.arange(tensor.numel(), dtype=torch.float32).view_as(tensor)
        tensor.grad = size * torch.sin(places * (step + 1) + n)


@pytest.mark.parametrize("size", [0.01, 10.0], ids=["short", "shortened"])
def test_it_does_as_pytorchs(size: float) -> None:
    own, other = ({"a": parameter(3, 4), "b": parameter(5)} for _ in range(2))
    optimizer = Optimizer(own)
    theirs = torch.optim.AdamW(other.values(), betas=(0.9, 0.99), weight_decay=0)
    for step, rate in enumerate((0.1, 0.05, 0.2, 0.01)):
        push(own, step, size)
        push(other, step, size)
        assert optimizer.step(rate)
        torch.nn.utils.clip_grad_norm_(other.values(), 1.0)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
    for name in own:
        torch.testing.assert_close(own[name], other[name], rtol=1e-5, atol=1e-6)
        assert own[name].grad is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_no_numbers_change_nothing(bad: float) -> None:
    tensors = {"a": parameter(3, 4), "b": parameter(5)}
    before, optimizer = copied(tensors), Optimizer(tensors)
    push(tensors, 0)
    assert tensors["b"].grad is not None
    tensors["b"].grad[2] = bad
    assert not optimizer.step(0.1)
    assert all((before[name] == array).all() for name, array in numbers(tensors).items())
    assert all((array == 0).all() for array in optimizer.moments()[0].values())
    assert tensors["a"].grad is None


def test_a_restored_state_goes_on_to_the_bit() -> None:
    whole, halves = ({"a": parameter(3, 4)} for _ in range(2))
    optimizer = Optimizer(whole)
    first = Optimizer(halves)
    for step in range(3):
        push(whole, step)
        push(halves, step)
        optimizer.step(0.1)
        first.step(0.1)
    second = Optimizer(halves)
    second.restore(3, *first.moments())
    for step in range(3, 6):
        push(whole, step)
        push(halves, step)
        optimizer.step(0.1)
        second.step(0.1)
    assert torch.equal(whole["a"], halves["a"])


def test_a_copy_does_not_change_and_is_put_back() -> None:
    tensors = {"a": parameter(2, 2)}
    kept = copied(tensors)
    with torch.no_grad():
        tensors["a"].zero_()
    assert (kept["a"] != 0).all()
    fill(tensors, kept)
    assert (numbers(tensors)["a"] == kept["a"]).all()
