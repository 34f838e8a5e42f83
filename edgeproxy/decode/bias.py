"""The pair's opinion as a bias, for a base that adds it to its logits and draws a token itself.

The fused row, base + alpha * (expert - anti_expert), differs from the base's by a bias, and a
server that takes one needs to tell nothing of its own row. The bias is exact for the tokens that
are sent; all others share one number, for adding a number to every token changes nothing:

    bias(x) = alpha * (expert(x) - anti_expert(x) - c),   0 for the others

with c = log(expert's mass on the others) - log(anti-expert's), what the pair says of them as one.
With a plausibility mask only plausible tokens are sent, lifted above all others together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import LogitsError, UsageError

MOST = 2048
"""So many tokens are sent at most, where a server has no limit of its own."""

NEGLIGIBLE = 1e-7
"""A token that neither of the pair gives so much is not sent."""

LIFT = 60.0
"""How far plausible tokens are lifted above the others: more than a base's logits differ."""

_NO_NUMBERS = "the pair's logits are not numbers: lower alpha, or check the models with alpha 0"


class Bias(NamedTuple):
    """What is added to which tokens' logits; what limits did.

    `cut` values were larger than allowed, `left_out` tokens more than allowed.
    """

    tokens: list[int]
    values: list[float]
    cut: int
    left_out: int


def check_steering(steering: Steering) -> None:
    """Raise `UsageError` for a steering that no bias gives: one that scales the base's logits."""
    if steering.base_weight != 1.0:
        raise UsageError(
            "a base that only takes a bias is steered with base_weight 1; a server that gives "
            "log-probabilities takes any"
        )


def bias_of(
    expert: Logits,
    anti_expert: Logits,
    steering: Steering,
    most: int | None = None,
    largest: float | None = None,
) -> Bias:
    """The bias at one step, of the pair's rows, each of shape (n_vocab,).

    At most `most` tokens (`MOST` where that is None), the likeliest for either of the pair, by at
    most `largest` each. Raises `LogitsError` for rows that are not numbers, and as
    `check_steering` does.
    """
    check_steering(steering)
    if steering.alpha == 0.0:
        return Bias([], [], 0, 0)
    expert, anti_expert = _log_softmax(expert), _log_softmax(anti_expert)
    if np.isnan(expert).any() or np.isnan(anti_expert).any():
        raise LogitsError(_NO_NUMBERS)
    likeliest = np.maximum(expert, anti_expert)
    sent = np.flatnonzero(likeliest > math.log(NEGLIGIBLE))
    lift = 0.0
    if steering.plausibility > 0.0:
        sent = np.flatnonzero(expert >= expert.max() + math.log(steering.plausibility))
        lift = LIFT
    most = MOST if most is None else most
    left_out = max(0, len(sent) - most)
    if left_out:
        sent = sent[np.argpartition(-likeliest[sent], most)[:most]]
    # A mask leaves the others without a say, and so without a number of their own.
    others = 0.0 if lift else _mass_but(expert, sent) - _mass_but(anti_expert, sent)
    values = steering.alpha * (expert[sent] - anti_expert[sent] - others)
    if lift:
        # Where the pair speaks against all that is plausible, that must not undo the lift.
        values += lift + max(0.0, -float(values.max()))
    if not np.isfinite(values).all():
        raise LogitsError(_NO_NUMBERS)
    bound = math.inf if largest is None else largest
    cut = int((np.abs(values) > bound).sum())
    return Bias(sent.tolist(), np.clip(values, -bound, bound).tolist(), cut, left_out)


def _log_softmax(row: Logits) -> np.ndarray:
    row = row.astype(np.float64)
    largest = row.max()
    with np.errstate(invalid="ignore"):
        return np.asarray(row - (largest + np.log(np.exp(row - largest).sum())))


def _mass_but(row: np.ndarray, sent: np.ndarray) -> float:
    """log of what the tokens that are not sent have together; 0 where all are.

    Not 1 less what the others have: a row over another model's vocabulary is no distribution.
    """
    rest = np.delete(row, sent)
    if not len(rest):
        return 0.0
    largest = float(rest.max())
    return largest + math.log(float(np.exp(rest - largest).sum()))
