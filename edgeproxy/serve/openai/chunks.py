"""What the writers of chat and completions have in common: chunks, progress, usage, the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import UsageError
from edgeproxy.explain import as_json, explain
from edgeproxy.serve.events import Echo, Ended, Event, Loading, Queued, Reading, Said
from edgeproxy.serve.openai import stamps
from edgeproxy.serve.openai.errors import answer
from edgeproxy.serve.openai.figures import FINISHED, extension, usage
from edgeproxy.serve.openai.tokens import Word, Words
from edgeproxy.serve.protocol import Sent

DONE = Sent("[DONE]")
EXPLANATION = "explanation"
"""The name of the event, and of the field, that holds what each model said."""

_MILLISECONDS = 1000.0


@dataclass(frozen=True)
class Told:
    """What of a reply is told.

    `model` is the name that it was asked under, and `id` what the reply is called. `best` is how
    many of each token's likeliest rivals are told, None where log-probabilities are not. `explains`
    says whether an explanation is added to the answer or is the answer, and `metadata` comes back
    as it was given.
    """

    model: str
    id: str
    best: int | None = None
    usage: bool = False
    progress: bool = False
    explains: Literal["no", "too", "alone"] = "no"
    metadata: Mapping[str, str] | None = None


class ChunkWriter(ABC):
    """Writes one reply as chunks, or as a whole; see `protocol.Writer`."""

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, told: Told, vocab: Vocab) -> None:
        self._told = told
        self._created = stamps.now()
        self._words = Words(vocab, told.best or 0)
        self._said: list[Word] = []
        self._echoed: list[Word] = []
        self._texts: list[str] = []
        self._ended: Ended | None = None
        self._figures: dict[str, Any] = {}
        self._explanation: dict[str, Any] | None = None
        self._began_reading: float | None = None
        self._has_begun = False

    def take(self, event: Event) -> list[Sent]:
        """As `Writer.take`."""
        match event:
            case Queued(before):
                return self._progress({"edgeproxy": {"queued": {"before": before}}})
            case Loading(what, share):
                loading = {"what": what, "share": round(share, 4)}
                return self._progress({"edgeproxy": {"loading": loading}})
            case Reading():
                return self._progress({"prompt_progress": self._read(event)})
            case Echo():
                self._echoed = [self._words.scored(score) for score in event.scores]
                return []
            case Said():
                return [*self._opening(), *self._piece(event)]
            case Ended():
                return [*self._opening(), *self._end(event)]

    def whole(self) -> dict[str, Any]:
        """As `Writer.whole`."""
        ended = self._ended
        if ended is None:
            raise UsageError("the reply has not ended")
        if self._told.explains == "alone":
            return self._explanation or {}
        found = self._base(self.whole_object) | {
            "choices": [self._choice("".join(self._texts), FINISHED[ended.finish_reason])],
            "usage": usage(ended.turn.usage),
            "edgeproxy": self._figures,
        }
        if self._told.metadata is not None:
            found["metadata"] = dict(self._told.metadata)
        if self._explanation is not None:
            found[EXPLANATION] = self._explanation
        return found

    def failed(self, error: BaseException) -> list[Sent]:
        """As `Writer.failed`."""
        return [Sent(answer(error).body)]

    def _progress(self, more: dict[str, Any]) -> list[Sent]:
        choice = self._delta(None, None, None)
        return [self._chunk(choice, **more)] if self._told.progress else []

    def _read(self, reading: Reading) -> dict[str, Any]:
        """As llama-server has it: what was kept counts as read, in no time."""
        now = stamps.ticks()
        if self._began_reading is None:
            self._began_reading = now
        return {
            "total": reading.kept + reading.total,
            "cache": reading.kept,
            "processed": reading.kept + reading.done,
            "time_ms": round((now - self._began_reading) * _MILLISECONDS),
        }

    def _opening(self) -> list[Sent]:
        if self._has_begun:
            return []
        self._has_begun = True
        return self._begin()

    def _piece(self, said: Said) -> list[Sent]:
        text = said.piece.text
        self._texts.append(text)
        word = self._words.word(said) if self._told.best is not None else None
        if word is not None:
            self._said.append(word)
        if not text and word is None:
            return []
        return [self._chunk(self._delta(text, word, None))]

    def _end(self, ended: Ended) -> list[Sent]:
        self._ended, self._figures = ended, extension(ended)
        if self._told.explains != "no":
            self._explanation = as_json(explain(ended.turn, ended.session))
        finish = FINISHED[ended.finish_reason]
        sent = [self._chunk(self._delta(None, None, finish), edgeproxy=self._figures)]
        if self._told.usage:
            last = self._base(self.chunk_object) | {"choices": []}
            sent.append(Sent(last | {"usage": usage(ended.turn.usage)}))
        if self._explanation is not None:
            sent.append(Sent(self._explanation, EXPLANATION))
        return [*sent, DONE]

    def _chunk(self, choice: dict[str, Any], **more: Any) -> Sent:
        found = self._base(self.chunk_object) | {"choices": [choice]}
        if self._told.usage:
            found["usage"] = None
        return Sent(found | more)

    def _base(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._told.id,
            "object": kind,
            "created": self._created,
            "model": self._told.model,
        }

    @abstractmethod
    def _begin(self) -> list[Sent]:
        """What a stream sends before the first piece."""

    @abstractmethod
    def _delta(self, text: str | None, word: Word | None, finish: str | None) -> dict[str, Any]:
        """The choice of a chunk."""

    @abstractmethod
    def _choice(self, text: str, finish: str) -> dict[str, Any]:
        """The choice of a plain answer."""
