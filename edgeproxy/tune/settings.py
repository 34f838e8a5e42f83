"""How a small model is tuned: what may be set, and defaults by its width and the examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from edgeproxy.core.check import number, one_of, whole

Dtype = Literal["bfloat16", "float32"]
"""What the frozen weights are held and multiplied in; A and B are float32 always."""

RANK = 16
_MOST_RANK = 1024
_ALPHA = 2  # alpha over rank: A and B begin to matter within the few hundred steps that there are

_RATE, _AT_WIDTH = 5e-4, 2048
_LOWEST_RATE, _HIGHEST_RATE = 2e-4, 1e-3

_PASSES = 40.0
_MOST_EPOCHS = 10

_BATCHES = ((1_000, 8), (10_000, 16))
_LARGEST_BATCH = 32

_WARM_UP = 0.06
"""The share of steps in which the rate rises: at first AdamW knows few gradients."""


@dataclass(frozen=True)
class Settings:
    """What decides the result of a tuning, and how long it may take.

    `epochs` passes over the examples, `batch` of them in a step of the optimizer, at a learning
    rate that rises to `rate` and falls to nothing. A and B have `rank`. `seed` is of A's first
    numbers and of the examples' order. `minutes` end it earlier. `threads` and `dtype` are found
    by trying where they are None. At most `micro_tokens` go through the network at once, padding
    included, or one example. Raises `UsageError` for an impossible value.
    """

    epochs: int = 3
    rate: float = _RATE
    rank: int = RANK
    seed: int = 0
    batch: int = 8
    minutes: float | None = None
    threads: int | None = None
    dtype: Dtype | None = None
    micro_tokens: int = 512

    def __post_init__(self) -> None:
        whole("epochs", self.epochs, 1, 10_000)
        number("rate", self.rate, 1e-8, 1.0)
        whole("rank", self.rank, 1, _MOST_RANK)
        whole("seed", self.seed, 0, 2**32 - 1)
        whole("batch", self.batch, 1, 1_000_000)
        whole("micro_tokens", self.micro_tokens, 1)
        if self.minutes is not None:
            number("minutes", self.minutes, 0.01, 1e6)
        if self.threads is not None:
            whole("threads", self.threads, 1, 512)
        if self.dtype is not None:
            one_of("dtype", self.dtype, get_args(Dtype))

    @property
    def alpha(self) -> int:
        """LoRA's alpha: what B A is multiplied by is alpha over rank."""
        return _ALPHA * self.rank

    @classmethod
    def fitting(cls, n_examples: int, width: int, **given: Any) -> Settings:
        """Settings for so many examples and a model of such a width.

        What is `given` and not None stays; an unknown name raises `TypeError`.
        """
        found: dict[str, Any] = {
            "epochs": default_epochs(n_examples),
            "rate": default_rate(width),
            "batch": default_batch(n_examples),
        }
        found |= {name: value for name, value in given.items() if value is not None}
        return cls(**found)

    def deciding(self) -> dict[str, Any]:
        """Those that a resumed tuning must have in common with what was begun, by name.

        A time limit may be another one; the last three are taken from the checkpoint.
        """
        apart = ("minutes", "threads", "dtype", "micro_tokens")
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}


def default_rate(width: int) -> float:
    """The learning rate for a model whose hidden states have `width` numbers.

    LoRA's best rates are about ten times those of full tuning and fall with the width ("LoRA
    Without Regret", 2025, finds exponents between 0.1 and 0.8 by family); 1/sqrt(width) lies
    between, through 5e-4 at 2,048: 9.4e-4 for 576 (SmolLM2-135M), 7.6e-4 for 896 (Qwen 0.5B).
    """
    rate = _RATE * math.sqrt(_AT_WIDTH / width)
    return float(f"{min(max(rate, _LOWEST_RATE), _HIGHEST_RATE):.2g}")


def default_epochs(n_examples: int) -> int:
    """How many passes: 2 for 400 examples, 4 for 100, at most 10, one from some 700 on.

    40 / sqrt(n): with four times the examples twice as many are seen, each half as often. Early
    stopping ends what is too long, but the best A and B are better where the rate has fallen by
    then: of 107 held-out facts (378 examples, SmolLM2-135M) the proxy had 72 right after two passes
    to their end, 66 where three were planned and the best was after the first.
    """
    return min(max(round(_PASSES / math.sqrt(max(n_examples, 1))), 1), _MOST_EPOCHS)


def default_batch(n_examples: int) -> int:
    """How many examples a step has: few where there are few, for enough steps to learn in."""
    return next((size for below, size in _BATCHES if n_examples < below), _LARGEST_BATCH)


def rate_share(step: int, steps: float) -> float:
    """The share of the learning rate at `step` (from 0) of `steps`: up, then straight down to 0.

    A straight fall to zero is the best of the usual ones for short runs ("Straight to Zero",
    2502.15938). `steps` may become fewer while a time limit nears.
    """
    rise = max(1, math.ceil(_WARM_UP * steps))
    return min((step + 1) / rise, max(steps - step, 0.0) / max(steps - rise, 1.0), 1.0)
