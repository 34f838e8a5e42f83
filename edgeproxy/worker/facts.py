"""What a host must know of the trio that its worker has loaded."""

from __future__ import annotations

from typing import NamedTuple

from edgeproxy.align import Match
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Alone, Steering
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.trios.find import Recipe
from edgeproxy.trios.manifest import Readers


class Facts(NamedTuple):
    """As the attributes of `Session` with these names.

    `n_vocab` is how many tokens a reply is drawn from, `endings` are those that end it, and
    `readers` those who read documents, None where there are none.
    """

    recipe: Recipe
    alone: Alone | None
    n_ctx: int
    n_vocab: int
    endings: frozenset[int]
    memory: Estimate
    doubts: tuple[str, ...]
    matches: dict[str, Match]
    steering: Steering
    sampling: Sampling
    readers: Readers | None


class SoloFacts(NamedTuple):
    """Of one more that answers, what is in `Facts` too."""

    n_ctx: int
    n_vocab: int
    endings: frozenset[int]
