"""What becomes of a request, event by event, and who answers requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import FinishReason, Piece
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.serve.wanted import Answers, Wanted
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Step, Turn


@dataclass(frozen=True)
class Queued:
    """It waits, and so many others are answered before it, the one under way included."""

    before: int


@dataclass(frozen=True)
class Loading:
    """The models are loaded: what is under way, and the share of it that is done, 0 to 1."""

    what: str
    share: float


@dataclass(frozen=True)
class Reading:
    """So many of the `total` tokens have been read that had to be read of the prompt.

    `kept` others of it had been read before.
    """

    done: int
    total: int
    kept: int = 0


@dataclass(frozen=True)
class Echo:
    """How likely each token of the text is that is gone on with, where that was asked for.

    It comes before the first piece.
    """

    scores: Sequence[TokenScore]


@dataclass(frozen=True)
class Said:
    """One piece of the reply, and what was asked for of its token.

    That is what each model said of it, or how likely it was where there was an `Echo`.
    """

    piece: Piece
    step: Step | None = None
    score: TokenScore | None = None


@dataclass(frozen=True)
class Ended:
    """The last event: the turn has ended, and tells usage, figures, what it read, and its steps.

    `session` is the one that answered, for what explains the turn.
    """

    finish_reason: FinishReason
    turn: Turn
    session: Session


Event = Queued | Loading | Reading | Echo | Said | Ended


class Engine(Protocol):
    """Whoever answers requests one after another; see `engine` for the real one.

    All of it is called in one event loop.
    """

    def ask(self, wanted: Wanted) -> AsyncGenerator[Event, None]:
        """The events of one request, of which `Ended` is the last.

        Closing the generator, or cancelling the task that reads it, withdraws the request at once,
        whether it waits, its prompt is read or it is answered. Raises at the first event
        `QueueFullError`, at any of them `ClosingError`, and what a reply raises (see
        `Session.reply`).
        """

    def cancel(self, name: str) -> bool:
        """End the reply that is called so (`Wanted.id`); whether there is one that has not ended.

        One under way ends within a token, with what was said and the finish reason "cancelled". One
        that waits is withdrawn: its events end with `WithdrawnError`.
        """

    async def count(self, wanted: Wanted) -> int:
        """The tokens of the prompt of a request, as the longest reads it. Raises as `ask` does."""

    async def vocab(self, answers: Answers = "trio") -> Vocab:
        """The vocabulary of the tokens in `Said`, of whoever answers. Raises as `ask` does."""
