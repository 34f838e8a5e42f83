"""AdamW on A and B, and its state by their names, as a checkpoint holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgeproxy.tune.checkpoint import Arrays

_LONGEST_GRADIENT = 1.0
"""A longer gradient, all of A and B taken together, is shortened to this."""
_BETAS = (0.9, 0.99)
"""The second is less than the usual 0.999, which remembers more steps than most tunings have."""


class Optimizer:
    """AdamW (1711.05101) without weight decay on the tensors `trained`, by name.

    A few hundred steps from zero need no decay: the held-out loss guards against too much.
    """

    def __init__(self, trained: Mapping[str, Tensor]) -> None:
        self.trained = trained
        self._adamw = torch.optim.AdamW(
            list(trained.values()), betas=_BETAS, weight_decay=0.0, fused=True
        )

    def step(self, rate: float) -> bool:
        """Follow the gradients at this learning rate, and forget them.

        False where they are not finite: nothing is changed then.
        """
        length = torch.nn.utils.clip_grad_norm_(self.trained.values(), _LONGEST_GRADIENT).item()
        is_finite = math.isfinite(length)
        if is_finite:
            for group in self._adamw.param_groups:
                group["lr"] = rate
            self._adamw.step()
        self.forget()
        return is_finite

    def forget(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad()

    def moments(self) -> tuple[Arrays, Arrays]:
        """The first and second moments, by name; zeros before the first step. Views, no copies."""
        states = {name: self._adamw.state.get(tensor) for name, tensor in self.trained.items()}
        first, second = (
            {
                name: state[key].numpy() if state else np.zeros(self.trained[name].shape, "f4")
                for name, state in states.items()
            }
            for key in ("exp_avg", "exp_avg_sq")
        )
        return first, second

    def restore(self, step: int, first: Arrays, second: Arrays) -> None:
        """Go on as after `step` steps that left these moments."""
        if step == 0:
            return
        for name, tensor in self.trained.items():
            self._adamw.state[tensor] = {
                "step": torch.tensor(float(step)),
                "exp_avg": torch.tensor(first[name]),
                "exp_avg_sq": torch.tensor(second[name]),
            }


def copied(tensors: Mapping[str, Tensor]) -> Arrays:
    """The numbers of `tensors`, by name, that do not change with them."""
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def fill(tensors: Mapping[str, Tensor], numbers: Arrays) -> None:
    """Put `numbers` into the `tensors` of the same names."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(numbers[name]))
