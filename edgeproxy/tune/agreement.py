"""Whether llama.cpp, with the adapter's file, says what PyTorch trained: the criterion, in numbers.

A quantised model's logits differ between the two: llama.cpp rounds activations to eight bits,
PyTorch to bfloat16. How much is seen without the adapter. So nothing is compared with a fixed
number: what the adapter adds must be the same in both, as far as that rounding allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""Logits, shape (rows, tokens): at each place in the texts, those of the same few tokens."""

ABSOLUTE = 2e-2
"""Logits that differ by less are the same: what float16 numbers in an adapter's file round off."""
MOST_DISAGREEMENT = 0.25
"""Without an adapter, of how widely the logits are spread: more is another model."""
MOST_ERROR = 1.5
"""With the adapter, times what rounding explains. SmolLM2-135M in Q4_1: 0.8 times for a sound
adapter, 2 times for one whose rows of queries and keys are in another order, or that is 1.2 times
as strong."""
MOST_LOST = 0.1
"""Of what the adapter adds: what may be otherwise in llama.cpp, besides rounding."""
ROUNDINGS = 1.5
"""The difference of two differences has been rounded twice: sqrt(2) times, were they unrelated."""
WIDEST = 10.0
"""A single difference may be so many times the usual one, and be rounding; 6 times was seen."""


@dataclass(frozen=True)
class Agreement:
    """How far llama.cpp and PyTorch agree: root mean squares of logits, each row's mean taken off.

    - `rows`: at how many places.
    - `spread`: how far the logits of a row are from each other, without the adapter.
    - `tuned_spread`: the same with it.
    - `rounding`: how far llama.cpp is from PyTorch without the adapter.
    - `effect`: what the adapter adds in PyTorch.
    - `lost`: how far what it adds in llama.cpp is from that.
    - `error`: how far llama.cpp is from PyTorch with the adapter.
    """

    rows: int
    spread: float
    tuned_spread: float
    rounding: float
    effect: float
    lost: float
    error: float

    @property
    def expected(self) -> float:
        """How far llama.cpp is from PyTorch by rounding, with the adapter: larger logits, more."""
        return self.rounding * max(1.0, self.tuned_spread / self.spread if self.spread else 1.0)

    @property
    def widest(self) -> float:
        """Two logits that are closer than this may change places by rounding."""
        return WIDEST * self.expected + ABSOLUTE

    def faults(self) -> Iterator[str]:
        """What is wrong, a clause each; nothing where the two agree."""
        if self.rounding > MOST_DISAGREEMENT * self.spread + ABSOLUTE:
            yield (
                f"without the adapter llama.cpp's logits differ from PyTorch's by "
                f"{self.rounding:.3g}, where they are spread over {self.spread:.3g}"
            )
        if self.error > MOST_ERROR * self.expected + ABSOLUTE:
            yield (
                f"with the adapter llama.cpp's logits differ from PyTorch's by {self.error:.3g}, "
                f"without it by {self.rounding:.3g}"
            )
        if self.lost > MOST_LOST * self.effect + ROUNDINGS * self.expected + ABSOLUTE:
            yield (
                f"the adapter changes PyTorch's logits by {self.effect:.3g}, and what it adds in "
                f"llama.cpp is off by {self.lost:.3g}"
            )


def agreement(llama: tuple[Rows, Rows], torch: tuple[Rows, Rows]) -> Agreement:
    """Compare logits without and with the adapter, all of the same places and tokens."""
    without, tuned = map(_centred, llama)
    trained_from, trained = map(_centred, torch)
    return Agreement(
        rows=len(trained),
        spread=_size(trained_from),
        tuned_spread=_size(trained),
        rounding=_size(without - trained_from),
        effect=_size(trained - trained_from),
        lost=_size((tuned - without) - (trained - trained_from)),
        error=_size(tuned - trained),
    )


def plausible(rows: Rows, count: int) -> NDArray[np.intp]:
    """Of each row the `count` tokens with the largest logits, in no order."""
    count = min(count, rows.shape[1])
    return np.argpartition(rows, -count, axis=1)[:, -count:]


def _centred(rows: Rows) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    centred: NDArray[np.float64] = exact - exact.mean(axis=1, keepdims=True)
    return centred


def _size(rows: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(rows**2))) if rows.size else 0.0
