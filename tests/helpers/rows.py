"""What is said of rows, computed plainly: in float64, each from its definition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Wide = NDArray[np.float64]


class Figures(NamedTuple):
    """The four rows of a step as log-probabilities, and what they say of each other."""

    rows: dict[str, Wide]
    moved: float
    kl: float
    changed: bool
    offset: float


def log_softmax(row: ArrayLike) -> Wide:
    wide = np.asarray(row, np.float64)
    wide = wide - wide.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()))


def figures(
    base: ArrayLike,
    expert: ArrayLike,
    anti_expert: ArrayLike,
    token: int,
    alpha: float = 1.0,
    base_weight: float = 1.0,
    plausibility: float = 0.0,
) -> Figures:
    """Of one step that `token` was drawn at, by the paper's equation and the mask."""
    b, e, a = map(log_softmax, (base, expert, anti_expert))
    w = base_weight
    fused = w * b + alpha * (e - w * a)
    if plausibility:
        fused[np.exp(e) < plausibility * np.exp(e.max())] = -np.inf
    f = log_softmax(fused)
    p, q = np.exp(f), np.exp(b)
    kl = sum(pi * (fi - bi) for pi, fi, bi in zip(p, f, b, strict=True) if pi > 0)
    return Figures(
        {"base": b, "expert": e, "anti_expert": a, "fused": f},
        0.5 * float(np.abs(p - q).sum()),
        float(kl),
        int(b.argmax()) != int(f.argmax()),
        float(w * b[token] + alpha * (e[token] - w * a[token]) - b[token]),
    )
