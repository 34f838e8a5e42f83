"""Where a reply ends, by the expert alone.

A base that reads a conversation without turns (`plain`) does not know that a reply has an end. An
anti-expert that reads a chat template does, as well as the expert, so that their difference is
silent about it, and the reply goes on. Then the expert alone says how likely the end is, and the
equation what comes if the reply does not end here:

    p(end) = p_expert(end),   p(x) = (1 - p_expert(end)) * softmax of fused over all but the ends

Ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits

Odds = NDArray[np.float32]
"""log p(end) - log(1 - p(end)), shape (rows, 1)."""

SUREST = 30.0
"""Log-odds beyond which an end counts as certain, or as impossible."""


def odds_of_end(own: Logits, ends: NDArray[np.int64]) -> Odds:
    """How likely a model finds the end, by its own rows, shape (rows, tokens), within `SUREST`.

    `ends` are its own tokens that end a reply. A row over another model's vocabulary would not do:
    it is no distribution (see `align`).
    """
    rest = own.copy()
    rest[:, ends] = -np.inf
    odds = _log_sum(own[:, ends]) - _log_sum(rest)
    return np.asarray(np.clip(odds, -SUREST, SUREST), np.float32)


def end_by(fused: Logits, odds: Odds, ends: NDArray[np.int64]) -> None:
    """Give `ends` in `fused`, shape (rows, n_vocab), together the probability that `odds` say.

    How they share it stays as it was.
    """
    if not len(ends):
        return
    among = fused[:, ends].copy()
    among[np.isneginf(among).all(axis=-1)] = 0.0  # a mask had left none
    fused[:, ends] = -np.inf
    fused[:, ends] = among - _log_sum(among) + _log_sum(fused) + odds


def _log_sum(rows: Logits) -> NDArray[np.float32]:
    """log of the sum of exp, shape (rows, 1); 0 for a row where nothing is possible."""
    largest = rows.max(axis=-1, keepdims=True)
    is_empty = np.isneginf(largest)
    largest = np.where(is_empty, np.float32(0.0), largest)
    sums = np.exp(rows - largest).sum(axis=-1, keepdims=True)
    return np.asarray(largest + np.log(np.where(is_empty, np.float32(1.0), sums)), np.float32)
