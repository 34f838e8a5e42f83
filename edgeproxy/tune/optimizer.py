"""AdamW on A and B, and its state by their names, as a checkpoint holds it.

PyTorch's own takes seconds and 80 MB to import, for compilers that nobody here asks for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from edgeproxy.tune.checkpoint import Arrays

_LONGEST_GRADIENT = 1.0
"""A longer gradient, all of A and B taken together, is shortened to this."""
_FIRST, _SECOND = 0.9, 0.99
"""How much of the moments stays. The usual 0.999 remembers more steps than most tunings have."""
_EPSILON = 1e-8


class Optimizer:
    """AdamW (1711.05101) without weight decay on the tensors `trained`, by name.

    A few hundred steps from zero need no decay: the held-out loss guards against too much.
    """

    def __init__(self, trained: Mapping[str, Tensor]) -> None:
        self._trained = trained
        self._step = 0
        self._first = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}

    def step(self, rate: float) -> bool:
        """Follow the gradients at this learning rate, and forget them.

        False where they are not finite: nothing is changed then.
        """
        gradients = {n: t.grad for n, t in self._trained.items() if t.grad is not None}
        length = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
        if math.isfinite(length):
            self._step += 1
            shortened = min(1.0, _LONGEST_GRADIENT / max(length, _EPSILON))
            with torch.no_grad():
                for name, gradient in gradients.items():
                    self._follow(name, gradient * shortened, rate)
        self.forget()
        return math.isfinite(length)

    def _follow(self, name: str, gradient: Tensor, rate: float) -> None:
        first = self._first[name].lerp_(gradient, 1 - _FIRST)
        second = self._second[name].lerp_(gradient.square(), 1 - _SECOND)
        # The moments begin at zero, which is made up for.
        deviation = (second / (1 - _SECOND**self._step)).sqrt_().add_(_EPSILON)
        self._trained[name].addcdiv_(first, deviation, value=-rate / (1 - _FIRST**self._step))

    def forget(self) -> None:
        """Forget the gradients."""
        for tensor in self._trained.values():
            tensor.grad = None

    def moments(self) -> tuple[Arrays, Arrays]:
        """The first and second moments, by name. They change with the next step."""
        return numbers(self._first), numbers(self._second)

    def restore(self, step: int, first: Arrays, second: Arrays) -> None:
        """Go on as after `step` steps that left these moments."""
        self._step = step
        fill(self._first, first)
        fill(self._second, second)


def numbers(tensors: Mapping[str, Tensor]) -> Arrays:
    """The numbers of `tensors`, by name. They change with them."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def copied(tensors: Mapping[str, Tensor]) -> Arrays:
    """The numbers of `tensors` as they are now, by name."""
    return {name: array.copy() for name, array in numbers(tensors).items()}


def fill(tensors: Mapping[str, Tensor], found: Arrays) -> None:
    """Put the numbers that were `found` into the `tensors` of the same names."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(found[name]))
