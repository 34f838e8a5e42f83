"""How fast training is, and how many of its steps fit a time limit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

_RECENT = 20
"""The loss and the speed that are told are of so many steps."""
_KNOWN = 2
"""After so many steps their times are believed, rather than the trial's."""


class Pace:
    """The times of steps and evaluations, in seconds; all may take `limit`, counted from now."""

    def __init__(self, clock: Callable[[], float], limit: float = math.inf) -> None:
        self._clock, self._limit = clock, limit
        self._begun = clock()
        self._step = self._evaluation = self._evaluations_per_step = 0.0
        self._n_steps, self._in_steps = 0, 0.0
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=_RECENT)

    def add(self, spent: float) -> None:
        """Count what an earlier run took."""
        self._begun -= spent

    def expect(self, step: float, evaluation: float, evaluations_per_step: float) -> None:
        """What one of each will take, until it is known, and how many follow a step on average."""
        self._step, self._evaluation = step, evaluation
        self._evaluations_per_step = evaluations_per_step

    @property
    def seconds(self) -> float:
        """What all has taken until now, earlier runs included."""
        return self._clock() - self._begun

    @property
    def loss(self) -> float:
        """The mean loss of the last steps; NaN before the first."""
        losses = [loss for loss, *_ in self._recent]
        return sum(losses) / len(losses) if losses else math.nan

    @property
    def tokens_per_second(self) -> float:
        """The speed of the last steps; 0 before the first."""
        seconds = sum(seconds for *_, seconds in self._recent)
        return sum(tokens for _, tokens, _ in self._recent) / seconds if seconds else 0.0

    def stepped(self, loss: float, tokens: int, seconds: float) -> None:
        """Note a step over so many tokens."""
        self._recent.append((loss, tokens, seconds))
        self._n_steps += 1
        self._in_steps += seconds
        if self._n_steps >= _KNOWN:
            self._step = self._in_steps / self._n_steps

    def evaluated(self, seconds: float) -> None:
        """Note an evaluation."""
        self._evaluation = seconds

    def expected(self, steps: int) -> float:
        """How many seconds so many steps take, their evaluations included."""
        return steps * self._whole_step

    def left(self, steps: int) -> float:
        """How many seconds so many steps more take, or what the limit leaves of them."""
        return min(self.expected(steps), max(self._limit - self.seconds, 0.0))

    def fitting(self) -> float:
        """How many steps more fit the time limit, before a last evaluation."""
        left = self._limit - self.seconds - self._evaluation
        return max(left, 0.0) / self._whole_step if self._whole_step > 0 else math.inf

    @property
    def _whole_step(self) -> float:
        return self._step + self._evaluations_per_step * self._evaluation
