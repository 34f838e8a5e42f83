"""What is fastest on this processor, found by trying: the dtype, and the number of threads.

Processors without bfloat16 instructions multiply such matrices tens of times slower than float32;
no list of processors says it better than a trial of a tenth of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from edgeproxy.core.threads import counts, processors
from edgeproxy.tune.settings import Dtype

TORCH_DTYPES: dict[Dtype, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}

_ROWS = (8, 128)
"""Tokens in a trial: first few, so that even the slowest way is known at once."""
_HOPELESS = 2.0
"""Times the best: what takes so long with few rows is not tried with more."""
_TRIES = 3
_WORSE = 1.2
"""A number of threads that takes so many times the best ends the trials."""

Clock = Callable[[], float]


def fastest_dtype(
    width: int, inner: int, threads: int | None = None, clock: Clock = time.perf_counter
) -> Dtype:
    """The dtype in which a model's blocks are trained fastest here.

    Forward and backward of one feed-forward layer of the model's shapes, `width` to `inner` and
    back, are timed in each: before the weights are read, since bfloat16 takes half the memory, and
    weights rounded to it would not become float32 again. Where float32 is not faster by some
    margin, bfloat16 it is.
    """
    with using_threads(threads or processors()):
        layers = {name: _Layer(width, inner, dtype) for name, dtype in TORCH_DTYPES.items()}
        times: dict[Dtype, float] = {}
        for rows in _ROWS:
            times = {name: _least(layers[name].trial(rows), clock) for name in layers}
            best = min(times.values())
            layers = {name: layers[name] for name in layers if times[name] <= best * _HOPELESS}
            if len(layers) == 1:
                return next(iter(layers))
    return min(times, key=lambda name: times[name])


class Trial(NamedTuple):
    """With so many `threads` the work took so many `seconds`."""

    threads: int
    seconds: float


def fastest_threads(
    work: Callable[[], object], options: Sequence[int] = (), clock: Clock = time.perf_counter
) -> Trial:
    """The number of threads with which `work` takes the least time, of `options`.

    Without those, of what is worth a trial here. `work` is done twice with each, beginning with
    the first. One that is clearly worse than one before it ends the trials: what follows would be
    worse still.
    """
    trials: list[Trial] = []
    for count in options or counts(processors()):
        with using_threads(count):
            trials.append(Trial(count, _least(work, clock, tries=2)))
        if trials[-1].seconds > _WORSE * min(trial.seconds for trial in trials):
            break
    return min(trials, key=lambda trial: trial.seconds)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Let PyTorch have `count` threads meanwhile; the number is the whole process's."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def dtype_of(weights: Sequence[torch.Tensor]) -> Dtype:
    """The dtype of the largest of `weights`, which decides about the time."""
    largest = max(weights, key=lambda weight: weight.numel())
    return next((name for name, d in TORCH_DTYPES.items() if d == largest.dtype), "float32")


class _Layer:
    """A gated feed-forward layer without values worth mentioning, its weights frozen."""

    def __init__(self, width: int, inner: int, dtype: torch.dtype) -> None:
        self._width = width
        self._dtype = dtype
        self._up = nn.Parameter(torch.full((inner, width), 0.01, dtype=dtype), requires_grad=False)
        self._down = nn.Parameter(torch.full((width, inner), 0.01, dtype=dtype), False)

    def trial(self, rows: int) -> Callable[[], None]:
        """Forward and backward of `rows` hidden states."""

        def once() -> None:
            hidden = torch.ones(rows, self._width, dtype=self._dtype, requires_grad=True)
            inner = functional.silu(functional.linear(hidden, self._up))
            functional.linear(inner, self._down).sum().backward()

        return once


def _least(work: Callable[[], object], clock: Clock, tries: int = _TRIES) -> float:
    """The least seconds that `work` took; the first time, which also sets things up, counts too."""
    found = []
    for _ in range(tries):
        begun = clock()
        work()
        found.append(clock() - begun)
    return min(found)
