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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.errors import LogitsError

Weight = float | NDArray[np.float32]
"""One weight for all rows, or one for each: shape (rows, 1)."""


class Mix(NamedTuple):
    """The weights of the rows at one step, and the mask's beta; the default is the paper's."""

    alpha: Weight = 1.0
    base_weight: Weight = 1.0
    plausibility: float = 0.0


_PAPER = Mix()


def fuse(
    base: Logits, expert: Logits, anti_expert: Logits, mix: Mix = _PAPER, out: Logits | None = None
) -> Logits:
    """Steer `base` as `mix` says; every array has the same shape (rows, n_vocab) or (n_vocab,).

    Returns `out` (a new array without it), which may be `base` itself. Masked tokens get -inf. In
    rows with alpha 0 the pair takes no part, nor does the mask: such a row is w * base, and with w
    1 exactly `base`. Raises `LogitsError` when a row ends with a NaN, or with nothing finite.
    """
    alpha, weight, plausibility = mix
    if out is None:
        out = np.empty_like(base)
    elif out is base:
        base = base.copy()
    # An overflow ends as a NaN or an infinity, which is an error below.
    with np.errstate(over="ignore", invalid="ignore"):
        base = _times(weight, base)
        if np.all(alpha == 0.0):
            np.copyto(out, base)
        else:
            np.subtract(expert, _times(weight, anti_expert), out=out)
            if not np.all(alpha == 1.0):
                out *= np.asarray(alpha, np.float32)
            out += base
            if plausibility > 0.0:
                masked = _implausible(expert, plausibility) & np.not_equal(alpha, 0.0)
                np.putmask(out, masked, -np.inf)
    if not np.isfinite(out.max(axis=-1)).all():
        raise LogitsError(
            "the fused logits are not numbers: lower alpha, or check the models with alpha 0"
        )
    return out


def _times(weight: Weight, rows: Logits) -> Logits:
    """`rows` themselves where every weight is 1."""
    return rows if np.all(weight == 1.0) else rows * np.asarray(weight, np.float32)


def _implausible(expert: Logits, plausibility: float) -> NDArray[np.bool_]:
    """Which tokens the expert gives less than `plausibility` times its largest probability."""
    threshold = np.float32(math.log(plausibility))
    return np.asarray(expert < expert.max(axis=-1, keepdims=True) + threshold)
