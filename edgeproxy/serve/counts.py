"""What an engine has done since it began, in figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edgeproxy.errors import ClosingError, QueueFullError, TooSlowError, WorkerError
from edgeproxy.serve.protocol import WithdrawnError
from edgeproxy.session.turn import Turn

OUTCOMES = (
    *("stop", "length", "context", "cancelled"),
    *("left", "refused", "slow", "closing", "worker", "failed"),
)
"""What becomes of requests.

The first four are as `FinishReason`. "left": its client withdrew it. "refused": too many waited.
"slow": `TooSlowError`. "closing": `ClosingError`. "worker": `WorkerError`. "failed": any other
error.
"""

_NEW = 0.2
"""The weight of the newest request in the mean of seconds."""


@dataclass
class Counts:
    """Figures that only grow, but for `mean_seconds`.

    - `requests`: by outcome, see `OUTCOMES`; each request counts once, when it has ended.
    - `read`, `kept`: tokens of prompts that were read, and that had been read before.
    - `said`: tokens of replies, of which `accepted` were drafted, out of `drafted` in all.
    - `waiting_seconds`, `answering_seconds`: of all requests that were answered.
    - `first_seconds`: from there on to the first token, of all that have one.
    - `mean_seconds`: that a request is answered for, lately; None before the first one.
    """

    requests: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)))
    read: int = 0
    kept: int = 0
    said: int = 0
    drafted: int = 0
    accepted: int = 0
    waiting_seconds: float = 0.0
    answering_seconds: float = 0.0
    first_seconds: float = 0.0
    mean_seconds: float | None = None

    def ended(self, outcome: str) -> None:
        """Count a request."""
        self.requests[outcome] += 1

    def took(self, waiting: float, answering: float) -> None:
        """Count the seconds of a request that was answered."""
        self.waiting_seconds += waiting
        self.answering_seconds += answering
        mean = self.mean_seconds
        self.mean_seconds = answering if mean is None else mean + _NEW * (answering - mean)

    def add(self, turn: Turn) -> None:
        """Count the tokens of a turn that has ended."""
        usage, stats = turn.usage, turn.stats
        self.read += usage.prompt - usage.kept
        self.kept += usage.kept
        self.said += usage.completion
        self.first_seconds += stats.first_seconds
        # Where a worker's turn has no end, these are of the one before.
        if stats.drafted is not None and turn.finish_reason is not None:
            self.drafted += stats.drafted.drafted
            self.accepted += stats.drafted.accepted


def outcome_of(error: BaseException) -> str:
    """Of `OUTCOMES` the one that an error is."""
    for kind, outcome in (
        (QueueFullError, "refused"),
        (TooSlowError, "slow"),
        (ClosingError, "closing"),
        (WorkerError, "worker"),
        (WithdrawnError, "cancelled"),
    ):
        if isinstance(error, kind):
            return outcome
    return "failed"
