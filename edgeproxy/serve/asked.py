"""A request, as the engine keeps it: where its events go, and the turn that answers it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from edgeproxy.core.cancel import Flag
from edgeproxy.decode.pieces import FinishReason, Piece
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import TooSlowError, UsageError
from edgeproxy.serve.events import Echo, Ended, Reading, Said
from edgeproxy.serve.mailbox import Mailbox
from edgeproxy.serve.settings import Settings
from edgeproxy.serve.wanted import Wanted
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Step, Turn


class Asked:
    """A request between its asking and its end.

    `place` is how many are answered before it, as its client was told.
    """

    def __init__(self, wanted: Wanted, mailbox: Mailbox, settings: Settings) -> None:
        self.wanted = wanted
        self.mailbox = mailbox
        self.place = 0
        self.came = self.began = time.perf_counter()
        self.turn: Turn | None = None
        """What answers it, once a thread does so."""
        self.is_over = False
        """Whether the engine is done with it."""
        self.lost: BaseException | None = None
        """Why it was withdrawn, where its client has not left."""
        self._settings = settings
        self._is_left, self._is_late, self._is_cancelled = Flag(), Flag(), Flag()

    @property
    def is_left(self) -> bool:
        """Whether its client has left."""
        return self._is_left.is_set()

    def leave(self) -> None:
        """Have no more of it. From any thread, and also before it is answered."""
        self._is_left.set()
        self._stop()

    def time_up(self) -> None:
        """Let it end with what was said until now."""
        self._is_late.set()
        self._stop()

    def cancel(self) -> None:
        """Let it end as cancelled, with what was said until now."""
        self._is_cancelled.set()
        self._stop()

    def answer(self, session: Session, speaker: Speaker[Any]) -> FinishReason | None:
        """Read the turn that answers it, in a thread; why it ended, None where its client left.

        Raises as the turn does, and `TooSlowError` where the prompt was not read in time.
        """
        turn = turn_of(session, speaker, self.wanted, self._settings.most_tokens, self._read)
        self.turn = turn
        if any(flag.is_set() for flag in (self._is_left, self._is_late, self._is_cancelled)):
            turn.cancel()
        with turn:
            return self._pass_on(turn, session)

    def _pass_on(self, turn: Turn, session: Session) -> FinishReason | None:
        tokens, has_begun = 0, False
        for made in turn:
            piece = self._ended_as_said(made, tokens)
            if tokens == 0 and turn.usage.kept:
                self.mailbox.put(_read_all(turn))
            if not has_begun and turn.asked.echo is not None:
                self.mailbox.put(Echo(turn.echo))
            has_begun = True
            self.mailbox.put(Said(piece, *_told_of(turn, piece, tokens)))
            tokens += piece.token is not None
            if piece.finish_reason is not None:
                self.mailbox.put(Ended(piece.finish_reason, turn, session))
                was_left = self.is_left and piece.finish_reason == "cancelled"
                return None if was_left else piece.finish_reason
            if not self.mailbox.wait_for_room():
                break
        return None

    def _ended_as_said(self, piece: Piece, tokens: int) -> Piece:
        """A reply whose time is up has ended for its length."""
        is_told = self.is_left or self._is_cancelled.is_set()
        if piece.finish_reason != "cancelled" or not self._is_late.is_set() or is_told:
            return piece
        if not tokens:
            raise TooSlowError(
                f"the prompt was not read within {self._settings.most_seconds:g} seconds; make it "
                "shorter, or have the server allow more time"
            )
        return replace(piece, finish_reason="length")

    def _read(self, done: int, total: int) -> None:
        self.mailbox.put(Reading(done, total))

    def _stop(self) -> None:
        turn = self.turn
        if turn is not None:
            turn.cancel()


def _read_all(turn: Turn) -> Reading:
    unread = turn.usage.prompt - turn.usage.kept
    return Reading(unread, unread, turn.usage.kept)


def _told_of(turn: Turn, piece: Piece, place: int) -> tuple[Step | None, TokenScore | None]:
    """What was asked for of a token of the reply, the first one's place being 0."""
    if piece.token is None:
        return None, None
    steps = turn.steps if turn.asked.record else ()
    scores = turn.scores if turn.asked.echo is not None else ()
    return (
        steps[place] if place < len(steps) else None,
        scores[place] if place < len(scores) else None,
    )


def turn_of(
    session: Session, speaker: Speaker[Any], wanted: Wanted, most_tokens: int, progress: Any
) -> Turn:
    """The turn of `speaker` that answers what is wanted. Raises `UsageError` and `PromptError`."""
    tokens = min(speaker.n_ctx, most_tokens)
    if wanted.max_tokens is not None:
        tokens = min(wanted.max_tokens, most_tokens)
    options: dict[str, Any] = {
        "sampling": wanted.sampling,
        "max_tokens": tokens,
        "stops": wanted.stops,
        "steering": _steering(session, wanted),
        "grammar": wanted.grammar,
        "record": wanted.record,
        "wait": True,
        "progress": progress,
    }
    if not wanted.is_raw:
        return speaker.reply(wanted.messages, docs_to=wanted.docs_to, **options)
    if wanted.docs_to not in (None, "nobody"):
        raise UsageError(f"a text that is gone on with reads no documents: {wanted.docs_to!r}")
    return speaker.complete(wanted.tokens or raw_text(wanted), echo=wanted.echo, **options)


def raw_text(wanted: Wanted) -> str:
    """The text that is to be gone on with. Raises `UsageError` for more than one message."""
    if len(wanted.messages) != 1:
        raise UsageError(f"one text can be gone on with, not {len(wanted.messages)}")
    return wanted.messages[0].content


def _steering(session: Session, wanted: Wanted) -> Steering | None:
    change: Change = {
        "alpha": wanted.alpha,
        "base_weight": wanted.base_weight,
        "plausibility": wanted.plausibility,
    }
    if all(value is None for value in change.values()):
        return None
    # One model alone refuses any.
    return (session.steering if wanted.answers == "trio" else Steering()).changed(change)
