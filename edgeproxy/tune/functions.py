"""Three steps of the network with backward passes of their own.

What autograd would record of them passes over the numbers about twice as often, and on a processor
that is half of the time of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LowRank(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + bias + scale (x A^T) B^T; gradients for x, A and B.

    `look` is called on the way there and on the way back; what it raises ends either.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        look: Callable[[], None],
    ) -> Tensor:
        """(..., inputs) -> (..., outputs); A and B may be of another dtype."""
        look()
        flat = x.flatten(0, -2)
        a, b = a.to(x.dtype), b.to(x.dtype)
        small = flat @ a.mT * scale
        # The smaller product comes first, and the sum of both is rounded once. Added to what is in
        # bfloat16 already, a young B A would be rounded off: it is less than a half of a last bit.
        found = (small @ b.mT).addmm_(flat, weight.mT)
        if bias is not None:
            found += bias
        ctx.save_for_backward(flat, weight, a, b, small)
        ctx.scale, ctx.shape, ctx.look = scale, x.shape, look
        return found.unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, those of A and B in float32 (float64 where that is the dtype)."""
        ctx.look()
        x, weight, a, b, small = ctx.saved_tensors
        gradient = gradient.flatten(0, -2)
        wide = torch.promote_types(x.dtype, torch.float32)
        inner = gradient @ b * ctx.scale
        of_a, of_b = (inner.mT @ x).to(wide), (gradient.mT @ small).to(wide)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (inner @ a).addmm_(gradient, weight).view(ctx.shape)
        return of_x, None, None, of_a, of_b, None, None


class RmsNorm(torch.autograd.Function):  # type: ignore[misc]
    """weight x / sqrt(mean(x^2) + epsilon) (arXiv 1910.07467); a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        """(..., width) -> the same shape in `dtype`; computed in the dtype of `weight`."""
        x = x.to(weight.dtype)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = (length.square() / x.shape[-1] + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for x, in the dtype of the weight."""
        x, weight, inverse = ctx.saved_tensors
        unit, gradient = x * inverse, gradient * weight
        along = (gradient * unit).mean(-1, keepdim=True)
        return gradient.addcmul_(unit, along, value=-1.0).mul_(inverse), None, None, None


class Turn(torch.autograd.Function):  # type: ignore[misc]
    """Pairs of numbers turned by angles; back, by the same angles the other way."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor, adjacent: bool) -> Tensor:
        """(batch, length, heads, head) -> the same, in the dtype of `cos` and `sin`.

        Those are (length, pairs). `adjacent` pairs are neighbours, others the n-th number of the
        first half of what is turned and of the second.
        """
        ctx.save_for_backward(cos, sin)
        ctx.adjacent, ctx.dtype = adjacent, heads.dtype
        return _turned(heads, cos, sin, adjacent, cos.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for the heads."""
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, -sin, ctx.adjacent, ctx.dtype), None, None, None


def _turned(heads: Tensor, cos: Tensor, sin: Tensor, adjacent: bool, dtype: torch.dtype) -> Tensor:
    cos, sin, pairs = cos[:, None], sin[:, None], cos.shape[-1]
    made = torch.empty(heads.shape, dtype=dtype)
    made[..., 2 * pairs :] = heads[..., 2 * pairs :]
    first, second = (
        (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2))
        if adjacent
        else (slice(0, pairs), slice(pairs, 2 * pairs))
    )
    a, b = heads[..., first], heads[..., second]
    made[..., first] = (a * cos).addcmul_(b, sin, value=-1.0)
    made[..., second] = (a * sin).addcmul_(b, cos)
    return made
