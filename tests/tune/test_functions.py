"""Backward passes written by hand against numerical derivatives, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgeproxy.tune.functions import LowRank, RmsNorm, Turn


def numbers(*shape: int, learns: bool = False) -> Any:
    source = torch.Generator().manual_seed(sum(shape))
    made = torch.randn(*shape, generator=source, dtype=torch.float64)
    return made.requires_grad_(learns)


@pytest.mark.parametrize("has_bias", [False, True])
def test_low_rank(has_bias: bool) -> None:
    bias = numbers(5) if has_bias else None
    x, a, b = (numbers(*shape, learns=True) for shape in ((2, 3, 4), (2, 4), (5, 2)))
    weight = numbers(5, 4)
    wanted = x @ (weight + 0.7 * b @ a).mT + (0 if bias is None else bias)
    looks: list[None] = []
    given = (x, weight, bias, a, b, 0.7, lambda: looks.append(None))
    found = LowRank.apply(*given)
    torch.testing.assert_close(found, wanted)
    assert len(looks) == 1
    found.sum().backward()
    assert len(looks) == 2, "on the way back too"
    assert torch.autograd.gradcheck(LowRank.apply, given)


def kept(found: Any, without: Any, added: Any) -> float:
    """The share of `added` that is in `found`, as least squares see it."""
    return float(((found - without) * added).sum() / added.square().sum())


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_young_adapter_is_not_rounded_off(has_bias: bool) -> None:
    """In bfloat16, where what it adds is mostly less than a half of a product's last bit.

    Of an adapter that had been trained for a step a third was lost; llama.cpp has it whole.
    """
    n_rows, inputs, outputs, rank = 64, 128, 256, 4
    short = torch.bfloat16
    x, a = numbers(n_rows, inputs), numbers(rank, inputs) / inputs**0.5
    weight, b = numbers(outputs, inputs) / inputs**0.5, 3e-4 * numbers(outputs, rank)
    bias = numbers(outputs).to(short) if has_bias else None
    small = x.to(short).requires_grad_()
    said = [
        LowRank.apply(small, weight.to(short), bias, a, part, 2.0, lambda: None)
        for part in (b, 0 * b)
    ]
    added = 2.0 * x @ a.mT @ b.mT
    one, other = (rows.detach().double() for rows in said)
    assert kept(one, other, added) == pytest.approx(1.0, abs=0.1)

    back = numbers(n_rows, outputs)
    found = [torch.autograd.grad(rows, small, back.to(short))[0].double() for rows in said]
    assert kept(found[0], found[1], 2.0 * back @ b @ a) == pytest.approx(1.0, abs=0.1)


def test_rms_norm() -> None:
    x, weight = numbers(2, 3, 6, learns=True), numbers(6)
    wanted = torch.nn.functional.rms_norm(x, (6,), weight, 0.1)
    torch.testing.assert_close(RmsNorm.apply(x, weight, 0.1, torch.float64), wanted)
    assert torch.autograd.gradcheck(RmsNorm.apply, (x, weight, 0.1, torch.float64))


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize("pairs", [2, 3])
def test_turn(adjacent: bool, pairs: int) -> None:
    """Turned by right angles too, and what is not turned stays."""
    heads, angles = numbers(2, 4, 3, 6, learns=True), numbers(4, pairs)
    assert torch.autograd.gradcheck(Turn.apply, (heads, angles.cos(), angles.sin(), adjacent))
    quarter = Turn.apply(heads, torch.zeros(4, pairs), torch.ones(4, pairs), adjacent)
    first, second = (0, 1) if adjacent else (0, pairs)
    torch.testing.assert_close(quarter[..., first], -heads[..., second].float())
    torch.testing.assert_close(quarter[..., second], heads[..., first].float())
    torch.testing.assert_close(quarter[..., 2 * pairs :], heads[..., 2 * pairs :].float())
