"""What this room asks of a server: some rows, or one token drawn with a bias; what it can give.

Each protocol (`llama_server`, `openai`) is a `Predicts`. None of them knows of a trio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel
from edgeproxy.remote.spent import Spent

Way = Literal["rows", "bias", "top-k"]
"""How a base on a server takes part: its rows are fused here, or the pair's bias is added there.

"top-k" is "rows" where the server gives fewer log-probabilities than are asked for.
"""

BiasBy = Mapping[int, float]
"""By token id what is added to its logit."""


class Known(NamedTuple):
    """The likeliest tokens of one row and their log-probabilities, each of shape (k,)."""

    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float32]


class Drawn(NamedTuple):
    """A token that the server drew, and what it says of its log-probability, if anything."""

    token: int
    logprob: float | None = None


@dataclass(frozen=True)
class Draws:
    """How a server draws a token; the names are those of `Sampling`."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    logit_bias: BiasBy = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Offer:
    """What a server can do, as it was found out.

    `software` and `model` are its own names; `n_ctx` counts tokens. `most_logprobs` is how many
    log-probabilities of a row it gives: 0 none, None any number. `rows_at_once` says whether one
    request gives several rows, `tells_any_token` whether `look_up` is possible. `takes_bias` says
    whether it adds a bias, to at most `most_biased` tokens and by at most `largest_bias` each; None
    is no limit. `slots` is how many requests it works on at once; None where it does not say.
    """

    software: str
    model: str
    n_ctx: int
    most_logprobs: int | None
    rows_at_once: bool
    takes_bias: bool
    tells_any_token: bool = False
    most_biased: int | None = None
    largest_bias: float | None = None
    slots: int | None = None


class Predicts(Protocol):
    """A server that predicts what comes after given tokens."""

    spent: Spent
    """What asking it has cost so far."""

    @property
    def offer(self) -> Offer:
        """What it can do."""

    @property
    def who(self) -> str:
        """Its address, for a person."""

    def rows(
        self, tokens: Sequence[int], count: int, k: int, cancel: Cancel | None = None
    ) -> list[Known]:
        """The `k` likeliest tokens after each of the last `count` of `tokens`.

        Raises `RemoteError`, and `Cancelled` while `cancel` is set.
        """

    def look_up(
        self, tokens: Sequence[int], token: int, cancel: Cancel | None = None
    ) -> float | None:
        """The log-probability of `token` after `tokens`; None where that cannot be said of it."""

    def draw(
        self, tokens: Sequence[int], bias: BiasBy, draws: Draws, cancel: Cancel | None = None
    ) -> Drawn:
        """The next token after `tokens`, drawn with `bias` added. Raises as `rows` does."""

    def close(self) -> None:
        """Let go of the connections. A second call does nothing."""
