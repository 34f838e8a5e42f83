"""The equation of proxy-tuning, on rows of logits.

    fused = base + sum over pairs of alpha * (expert - anti_expert)

Liu et al., 2024, arXiv 2401.08565, equation 1. The plausibility mask keeps a token x only where
p_expert(x) >= beta * max p_expert: contrastive decoding's constraint (Li et al., 2023, arXiv
2210.15097) with the expert as the judge, as emulated fine-tuning filters (2310.12962). It keeps the
pair's noise about improbable tokens from lifting junk. beta = 0 is the paper as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.check import is_number
from edgeproxy.core.model import Logits
from edgeproxy.errors import LogitsError, UsageError


class Offset(NamedTuple):
    """One pair's opinion: two rows of logits over the base's vocabulary, and its weight."""

    expert: Logits
    anti_expert: Logits
    alpha: float


def check_alpha(alpha: float) -> float:
    """`alpha` itself; any finite number is possible. Raises `UsageError` otherwise."""
    if not is_number(alpha) or not math.isfinite(alpha):
        raise UsageError(f"alpha must be a finite number, not {alpha!r}; the paper uses 1")
    return alpha


def check_plausibility(beta: float) -> float:
    """`beta` itself, 0 <= beta <= 1. Raises `UsageError` otherwise."""
    if not is_number(beta) or not 0.0 <= beta <= 1.0:
        raise UsageError(f"plausibility must be between 0 (off) and 1, not {beta!r}")
    return beta


def fuse(
    base: Logits, offsets: Sequence[Offset], plausibility: float = 0.0, out: Logits | None = None
) -> Logits:
    """Steer `base` by `offsets`; every array has the same shape (rows, n_vocab) or (n_vocab,).

    Returns `out` (a new array without it), which may be `base` itself. Masked tokens get -inf. A
    pair with alpha 0 takes no part, and without any pair the mask is off: the result is then
    exactly `base`. With several pairs, a token stays if one expert finds it plausible. Raises
    `LogitsError` when a row ends with a NaN, or with nothing finite.
    """
    offsets = [offset for offset in offsets if offset.alpha != 0.0]
    if out is None:
        out = np.empty_like(base)
    elif out is base:
        base = base.copy()
    if not offsets:
        np.copyto(out, base)
    # An overflow ends as a NaN or an infinity, which is an error below.
    with np.errstate(over="ignore", invalid="ignore"):
        for n, (expert, anti_expert, alpha) in enumerate(offsets):
            # The first difference is taken in `out`, so that one pair needs no other memory.
            difference = np.subtract(expert, anti_expert, out=None if n else out)
            if alpha != 1.0:
                difference *= np.float32(alpha)
            out += difference if n else base
    if offsets and plausibility > 0.0:
        np.putmask(out, _implausible(offsets, plausibility), -np.inf)
    if not np.isfinite(out.max(axis=-1)).all():
        raise LogitsError(
            "the fused logits are not numbers: lower alpha, or check the models with alpha 0"
        )
    return out


def _implausible(offsets: Sequence[Offset], plausibility: float) -> NDArray[np.bool_]:
    """Which tokens every expert gives less than `plausibility` times its largest probability."""
    threshold = np.float32(math.log(plausibility))
    masks: list[NDArray[np.bool_]] = [
        o.expert < o.expert.max(axis=-1, keepdims=True) + threshold for o in offsets
    ]
    for other in masks[1:]:
        masks[0] &= other
    return masks[0]
