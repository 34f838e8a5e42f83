"""Whoever answers in a worker, as a host sees it: a `Speaker` whose replies come over the pipe.

Everything about turns (who has the models, cancel, figures, conversations) is the session's own
code, on this side; the worker computes pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from edgeproxy.align import Cost
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Drafted
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.decode.steering import Alone, Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.prompts.formats import Message
from edgeproxy.remote.spent import Spent
from edgeproxy.session.alone import check_alone
from edgeproxy.session.checks import check_three_speak, check_unrecorded, check_unsteered
from edgeproxy.session.floor import Floor
from edgeproxy.session.messages import Messages, as_asked
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.reading import NOTHING, Read, Reading, chosen_readers
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Asked, Recorder
from edgeproxy.trios.manifest import Readers
from edgeproxy.worker.calls import Call
from edgeproxy.worker.keeper import Keeper

AHEAD = 32
"""So many pieces a worker makes before its host has taken any of them."""

_GRANT = AHEAD // 2
"""Pieces are allowed so many at a time, for a message costs as much as a piece."""

_NO_MODELS = "the models are in a process of their own; load the trio without isolate for this"


@dataclass(frozen=True, eq=False)
class SizedVocab(Vocab):
    """A vocabulary of which this process knows the size alone."""

    size: int = 0

    def __len__(self) -> int:
        return self.size


class FarSpeaker(Speaker[Any]):
    """A speaker of the worker that `keeper` keeps, which knows it by its `key`.

    `steering` is that of replies that do not ask for another one, None for one model that is
    compared with a trio; `alone` is the model that was loaded alone. `cancel` stops everything.
    """

    def __init__(
        self,
        keeper: Keeper,
        key: tuple[Any, ...],
        n_ctx: int,
        n_vocab: int,
        endings: frozenset[int],
        sampling: Sampling,
        reading: Reading | None = None,
        steering: Steering | None = None,
        alone: Alone | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        vocab = SizedVocab((), (), size=n_vocab)
        nothing: Any = None  # its model is elsewhere
        super().__init__(
            nothing,
            vocab,
            endings,
            Floor(cancel),
            sampling=sampling,
            reading=reading,
        )
        self.key = key
        self.alone = alone
        self._keeper = keeper
        self._n_ctx = n_ctx
        self._default = steering
        self._drafted: Drafted | None = None
        self._cost: Cost | None = None
        self._spent: Spent | None = None

    @property
    def steering(self) -> Steering:
        """That of replies that do not ask for another one. Raises `UsageError` without a trio."""
        if self._default is None:
            raise UsageError("steering is for a trio, not one model alone")
        return self._default

    @steering.setter
    def steering(self, value: Steering) -> None:
        self._default = self._checked(value)

    @property
    def n_ctx(self) -> int:
        """As `Speaker.n_ctx`."""
        return self._n_ctx

    @property
    def drafted(self) -> Drafted | None:
        """As `Speaker.drafted`, of the last reply that has ended."""
        return self._drafted

    @property
    def cost(self) -> Cost | None:
        """As `Speaker.cost`, of the last reply that has ended."""
        return self._cost

    @property
    def spent(self) -> Spent | None:
        """As `Speaker.spent`, at the end of the last reply."""
        return self._spent

    @cached_property
    def vocab(self) -> Vocab:
        """The vocabulary that a reply is drawn from, without a tokenizer. Raises as a reply."""
        tokens: list[bytes] = []
        kinds: list[int] = []

        def told(some: Sequence[bytes], of_kinds: Sequence[int]) -> None:
            tokens.extend(some)
            kinds.extend(of_kinds)

        found: Vocab = self.ask("vocab", {}, "told its vocabulary", told=told)
        return replace(found, tokens=tuple(tokens), kinds=tuple(kinds))

    def begin(
        self,
        asked: Asked,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None = None,
    ) -> Iterator[Piece]:
        """As `Speaker.begin`."""
        if cancel.is_set():
            yield Piece("", None, None, "cancelled")
            return
        arguments = {"speaker": self.key, "asked": asked, "ahead": AHEAD}
        if progress is not None:
            arguments["told"] = True
        call = self._keeper.open("reply", arguments, "answered", cancel)
        try:
            yield from self._pieces(call, cancel, record, progress)
        finally:
            call.leave()

    def _pieces(
        self,
        call: Call,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None,
    ) -> Iterator[Piece]:
        taken, has_hole = 0, False
        while True:
            match call.next(cancel):
                case ["told", int(done), int(total)]:
                    if progress is not None:
                        progress(done, total)
                    continue
                case ["told", tuple(scores)] if all(isinstance(s, TokenScore) for s in scores):
                    record.echo.extend(scores)
                    continue
                case ["piece", str(text), token, logprob, finish_reason, more]:
                    piece = Piece(text, token, logprob, finish_reason)
                case _:
                    raise call.nonsense()
            if more and "usage" in more:
                record.usage, record.read = more["usage"], more["read"]
            if cancel.is_set():
                call.cancel()
                if piece.finish_reason is None:
                    has_hole = True  # it was made before the worker heard of it
                    continue
            if more and "steps" in more and not has_hole:
                record.steps.extend(more["steps"])
            if more and "scores" in more and not has_hole:
                record.scores.extend(more["scores"])
            if piece.finish_reason is not None:
                of_turn, record.changed, record.took = call.result()
                self._drafted, self._cost, self._spent = of_turn
                yield Piece("", None, None, "cancelled") if has_hole else piece
                return
            yield piece
            taken += 1
            if taken % _GRANT == 0:
                call.more(_GRANT)

    def score(
        self, asked: Asked, read: Read, said: Sequence[int], cancel: Cancel | None = None
    ) -> list[float]:
        """As `Speaker.score`."""
        arguments = {"asked": asked, "read": read, "said": tuple(said)}
        return [*self.ask("score", arguments, "evaluated a reply again", cancel)]

    def tokenize(self, text: str) -> list[int]:
        """As `Speaker.tokenize`."""
        return [*self.ask("tokenize", {"text": text}, "cut a text into tokens")]

    def spans(self, said: Sequence[int]) -> list[tuple[int, int]]:
        """As `Speaker.spans`."""
        return [*self.ask("spans", {"said": tuple(said)}, "told where tokens are")]

    def count(
        self, messages: Messages, is_raw: bool = False, docs_to: Readers | None = "nobody"
    ) -> int:
        """As `Speaker.count`."""
        readers = chosen_readers(self.reading, docs_to)
        given = {"messages": as_asked(messages, is_raw), "is_raw": is_raw, "docs_to": readers}
        return int(self.ask("count", given, "counted tokens"))

    def ask(
        self,
        do: str,
        arguments: dict[str, Any],
        doing: str,
        cancel: Cancel | None = None,
        told: Callable[..., object] | None = None,
    ) -> Any:
        """What this speaker of the worker's answers. Raises as `Keeper.ask`."""
        arguments = {"speaker": self.key, **arguments}
        return self._keeper.ask(do, arguments, doing, cancel or self.floor.cancel_all, told)

    def _steered(self, steering: Steering | None, change: Change) -> Steering | None:
        if self._default is None:
            check_unsteered(steering, change)
            return None
        return self._checked((steering or self._default).changed(change))

    def _checked(self, steering: Steering) -> Steering:
        return steering if self.alone is None else check_alone(steering, self.alone)

    def _check(self, asked: Asked) -> None:
        if self._default is None or self.alone is not None:
            check_unrecorded(asked)
        else:
            check_three_speak(asked)

    def encode(
        self, messages: Sequence[Message], read: Read = NOTHING, is_raw: bool = False
    ) -> Any:
        """Raise `UsageError`: the worker alone has tokenizers."""
        raise UsageError(_NO_MODELS)

    def _of_tokens(self, tokens: Sequence[int]) -> Any:
        raise UsageError(_NO_MODELS)

    def _resume(self, prompt: Any) -> Any:
        raise UsageError(_NO_MODELS)

    def _size(self, prompt: Any) -> int:
        raise UsageError(_NO_MODELS)

    def _longest(self, prompt: Any) -> int:
        raise UsageError(_NO_MODELS)

    def _work(self, prompt: Any) -> int:
        raise UsageError(_NO_MODELS)

    def _prepare(self, asked: Asked) -> None:
        pass  # the worker does
