"""Muon for matrices (Jordan et al., 2024), AdamW for embeddings, outputs, norms and biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Return the nearest orthogonal matrix of each in `g` [n, rows, columns], by Newton-Schulz."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Momentum whose update is made orthogonal; matrices of one size go together."""

    def __init__(self, matrices: list[nn.Parameter], rate: float, decay: float) -> None:
        super().__init__(matrices, {"lr": rate, "decay": decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: None = None) -> None:
        """Take one step."""
        for group in self.param_groups:
            by_size: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                by_size.setdefault(parameter.shape, []).append(parameter)
            for size, same in by_size.items():
                updates = []
                for parameter in same:
                    grad = parameter.grad
                    assert grad is not None
                    state = self.state[parameter]
                    momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                    momentum.lerp_(grad, 0.05)
                    updates.append(grad.lerp(momentum, 0.95))
                moved = orthogonal(torch.stack(updates)) * 0.2 * max(size) ** 0.5
                for parameter, update in zip(same, moved, strict=True):
                    parameter.mul_(1 - group["lr"] * group["decay"])
                    parameter.add_(update, alpha=-group["lr"])


def optimisers(
    network: nn.Module, rate: float, decay: float
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return the two optimisers of a network; `rate` is that of both."""
    matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in network.named_parameters() if p.ndim != 2 or "embed" in n]
    adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    return Muon(matrices, rate, decay), adam
