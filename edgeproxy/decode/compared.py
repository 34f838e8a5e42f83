"""How the three rows of one step compare, over the whole vocabulary, while they are there.

Probabilities are the softmax of a row; their logarithms are in nats. With p of the fused row and q
of the base's:

    moved = 1/2 * sum of |p - q|           the total variation: 0 is the same, 1 nothing in common
    KL    = sum of p * (log p - log q)     nats; Kullback and Leibler, 1951

Of a few tokens what each model said is kept, so that they can be fused anew for another alpha. For
every alpha between 0, the step's own and a far one, the likeliest token is nearly always among
them: a fused value is linear in alpha, so that no other token can be above both of what bounds the
best ones at the ends (see `page/fuse.js` of `explain`, which says where it is certain).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import Mix, fuse

Wide = NDArray[np.float64]


class Known(NamedTuple):
    """A token, and the logarithm of what each model gives it.

    With `is_guess` the base's is none that its server told, but what was fused in its place.
    """

    token: int
    base: float
    expert: float
    anti_expert: float
    is_guess: bool = False


class Edge(NamedTuple):
    """The rows fused for another alpha: that alpha, its best tokens, and the rest.

    `log_rest` is the logarithm of the sum of exp over the tokens that are not among the known ones,
    where each model's row is made of log-probabilities; -inf where the mask leaves none.
    """

    alpha: float
    best: tuple[int, ...]
    log_rest: float


class Compared(NamedTuple):
    """What one step's rows say of each other.

    - `alpha`, `base_weight`: the weights of this step, as a policy may change them.
    - `moved`, `kl`: as above.
    - `changed`: whether the base's likeliest token is another one than the fused row's.
    - `known`: the best tokens of all four rows and of `far`, and the token drawn.
    - `log_rest`, `base_rest`: as `Edge.log_rest`, of the step's own alpha and of alpha 0.
    - `far`: the rows fused for the farthest alpha.
    - `is_partial`: whether the base's row was told in part, and the rest of it guessed.
    """

    alpha: float
    base_weight: float
    moved: float
    kl: float
    changed: bool
    known: tuple[Known, ...]
    log_rest: float
    base_rest: float
    far: Edge
    is_partial: bool


class Said(NamedTuple):
    """The rows of one step as log-probabilities, each of shape (n_vocab,); see `log_softmax`.

    `base` is whole; `is_guess` says where it is none that was told.
    """

    base: Wide
    expert: Wide
    anti_expert: Wide
    fused: Wide
    is_guess: NDArray[np.bool_]


def compare(said: Said, mix: Mix, token: int, count: int, far_alpha: float) -> Compared:
    """Compare the rows that `token` was drawn from, fused with `mix`, whose weights are numbers.

    `count` tokens of each row are kept, and of the row fused for `far_alpha`.
    """
    base, expert, anti_expert, fused, is_guess = said
    p, q = np.exp(fused), np.exp(base)
    is_possible = p > 0.0
    apart = fused[is_possible] - base[is_possible]
    alpha, weight = float(mix.alpha), float(mix.base_weight)
    far = _fused(said, mix._replace(alpha=far_alpha))
    best = [best_of(row, count) for row in (base, expert, anti_expert, fused, far)]
    tokens = sorted({token, *chain.from_iterable(best)})
    known = (
        Known(
            each,
            float(base[each]),
            float(expert[each]),
            float(anti_expert[each]),
            bool(is_guess[each]),
        )
        for each in tokens
    )
    likeliest = int(fused.argmax())
    value = weight * base[likeliest]
    value += alpha * (expert[likeliest] - weight * anti_expert[likeliest])
    is_rest = np.ones(len(base), np.bool_)
    is_rest[tokens] = False
    log_sum = float(value - fused[likeliest])
    return Compared(
        alpha,
        weight,
        float(np.abs(p - q).sum() / 2.0),
        max(0.0, float(p[is_possible] @ apart)),
        int(base.argmax()) != likeliest,
        tuple(known),
        log_sum + _log_sum(fused[is_rest]),
        _log_sum(weight * base[is_rest]),
        Edge(far_alpha, tuple(best[4]), _log_sum(far[is_rest])),
        bool(is_guess.any()),
    )


def _fused(said: Said, mix: Mix) -> Wide:
    base, expert, anti_expert = (row.astype(np.float32) for row in said[:3])
    return fuse(base, expert, anti_expert, mix).astype(np.float64)


def log_softmax(row: Logits) -> Wide:
    """log softmax of `row`, shape (n_vocab,), in float64."""
    wide = row.astype(np.float64)
    return np.asarray(wide - _log_sum(wide))


def _log_sum(row: Wide) -> float:
    largest = float(row.max(initial=-np.inf))
    if largest == -np.inf:
        return largest
    return largest + float(np.log(np.exp(row - largest).sum()))


def best_of(row: Wide, count: int) -> list[int]:
    """The `count` likeliest tokens of `row`, the likeliest first, without impossible ones."""
    best: Iterable[int] = np.arange(len(row))
    if count < len(row):
        best = np.argpartition(row, -count)[-count:]
    return [int(t) for t in sorted(best, key=lambda t: (-row[t], t)) if row[t] > -np.inf]
