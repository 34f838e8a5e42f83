"""What training tells of itself: before it starts, while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeproxy.tune.settings import Dtype

Ending = Literal["epochs", "no better", "minutes", "stopped"]
"""Why training ended: all epochs are done; the held-out loss did not fall for a while; the time
limit; somebody asked it to stop."""


@dataclass(frozen=True)
class Plan:
    """What is about to be done: known after the first trials, before the first step.

    `seconds` is how long all `steps` would take from `step` on, evaluations included, or the time
    limit where that is shorter.
    """

    step: int
    steps: int
    threads: int
    dtype: Dtype
    tokens_per_second: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where training is, after a step or an evaluation of the held-out examples.

    Losses are in nats per token of a reply: `loss` is the mean of the last steps; `held_out_loss`
    is the newest, None before the first. `epoch` is from 1. `rate` is the learning rate of this
    step. `tokens_per_second` leaves out padding. `best_loss` is the least held-out loss so far.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    held_out_loss: float | None
    best_loss: float | None
    rate: float
    tokens_per_second: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """What came out: A and B in the network are the best that were seen.

    `best_loss`, the held-out loss of those, is None where no example was held out or it ended
    before an evaluation: then they are those of the last step. `first_loss` is the held-out loss
    before any training. `loss` is the mean of the last steps, NaN before the first. `epochs` may
    be a part of one. `seconds` include those before a resume.
    """

    best_loss: float | None
    best_step: int
    first_loss: float | None
    loss: float
    steps: int
    epochs: float
    seconds: float
    ending: Ending
    threads: int
    dtype: Dtype
