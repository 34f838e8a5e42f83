"""The equation of proxy-tuning, on rows of logits, and its family.

    fused = w * base + alpha * (expert - w * anti_expert)

With w = 1 it is Liu et al., 2024, arXiv 2401.08565, equation 1; see `steering` for the others. The
plausibility mask keeps a token x only where p_expert(x) >= beta * max p_expert: contrastive
decoding's constraint (Li et al., 2023, arXiv 2210.15097) with the expert as the judge, as emulated
fine-tuning filters (2310.12962). It keeps the pair's noise about improbable tokens from lifting
junk. beta = 0 is the paper as it stands.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.errors import LogitsError


def fuse(
    base: Logits,
    expert: Logits,
    anti_expert: Logits,
    steering: Steering = PAPER,
    out: Logits | None = None,
) -> Logits:
    """Steer `base`; every array has the same shape (rows, n_vocab) or (n_vocab,).

    Returns `out` (a new array without it), which may be `base` itself. Masked tokens get -inf. With
    alpha 0 the pair takes no part, nor does the mask: it is exactly `base`. Raises `LogitsError`
    when a row ends with a NaN, or with nothing finite.
    """
    alpha, weight = steering.alpha, steering.base_weight
    if out is None:
        out = np.empty_like(base)
    elif out is base:
        base = base.copy()
    # An overflow ends as a NaN or an infinity, which is an error below.
    with np.errstate(over="ignore", invalid="ignore"):
        if alpha == 0.0:
            np.copyto(out, base)
        else:
            np.subtract(expert, _times(weight, anti_expert), out=out)
            if alpha != 1.0:
                out *= np.float32(alpha)
            out += _times(weight, base)
            if steering.plausibility > 0.0:
                np.putmask(out, _implausible(expert, steering.plausibility), -np.inf)
    if not np.isfinite(out.max(axis=-1)).all():
        raise LogitsError(
            "the fused logits are not numbers: lower alpha, or check the models with alpha 0"
        )
    return out


def _times(weight: float, rows: Logits) -> Logits:
    """`rows` themselves where the weight is 1."""
    return rows if weight == 1.0 else rows * np.float32(weight)


def _implausible(expert: Logits, plausibility: float) -> NDArray[np.bool_]:
    """Which tokens the expert gives less than `plausibility` times its largest probability."""
    threshold = np.float32(math.log(plausibility))
    return np.asarray(expert < expert.max(axis=-1, keepdims=True) + threshold)
