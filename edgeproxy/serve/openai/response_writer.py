"""`/v1/responses`: how it is answered, as named events or as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import UsageError
from edgeproxy.serve.events import Ended, Event, Said
from edgeproxy.serve.openai import stamps
from edgeproxy.serve.openai.errors import FAILED, TOO_MANY, answer
from edgeproxy.serve.openai.figures import FINISHED, extension, response_usage
from edgeproxy.serve.openai.tokens import Words, entry
from edgeproxy.serve.protocol import Sent


@dataclass(frozen=True)
class Echoed:
    """What a response says again of its request; `id` and `best` are as in `chunks.Told`."""

    id: str
    model: str
    instructions: str | None
    max_output_tokens: int | None
    metadata: Mapping[str, str]
    parallel_tool_calls: bool
    tool_choice: str
    temperature: float
    top_p: float
    format: Mapping[str, Any]
    user: str | None
    best: int | None


class ResponseWriter:
    """Writes one reply as the protocol of responses has it; see `protocol.Writer`."""

    def __init__(self, echoed: Echoed, vocab: Vocab) -> None:
        self._echoed = echoed
        self._item = stamps.new_id("msg_")
        self._created = stamps.now()
        self._words = Words(vocab, echoed.best or 0)
        self._entries: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._sent = 0
        self._is_open = False
        self._ended: Ended | None = None
        self._figures: dict[str, Any] = {}

    def take(self, event: Event) -> list[Sent]:
        """As `Writer.take`."""
        match event:
            case Said():
                return [*self._opening(), *self._piece(event)]
            case Ended():
                return [*self._opening(), *self._end(event)]
        return []

    def whole(self) -> dict[str, Any]:
        """As `Writer.whole`."""
        if self._ended is None:
            raise UsageError("the reply has not ended")
        return self._response(self._status)

    def failed(self, error: BaseException) -> list[Sent]:
        """As `Writer.failed`: one event, of a response that failed or, before that, an error."""
        found = answer(error)
        if not self._is_open:
            about = {"code": found.code, "message": found.message, "param": found.param}
            return [self._event("error", **about)]
        code = "server_error" if found.status >= FAILED else "invalid_prompt"
        code = "rate_limit_exceeded" if found.status == TOO_MANY else code
        response = self._response("failed")
        response["error"] = {"code": code, "message": found.message, "type": found.type}
        return [self._event("response.failed", response=response)]

    @property
    def _status(self) -> str:
        """Of a reply that has ended."""
        finish = "stop" if self._ended is None else FINISHED[self._ended.finish_reason]
        return "completed" if finish == "stop" else "incomplete"

    def _opening(self) -> list[Sent]:
        if self._is_open:
            return []
        self._is_open = True
        return [
            self._event("response.created", response=self._response("in_progress")),
            self._event("response.in_progress", response=self._response("in_progress")),
            self._event(
                "response.output_item.added",
                output_index=0,
                item=self._message("in_progress", content=[]),
            ),
            self._at("response.content_part.added", part=_part("", [])),
        ]

    def _piece(self, said: Said) -> list[Sent]:
        text = said.piece.text
        self._texts.append(text)
        word = self._words.word(said) if self._echoed.best is not None else None
        found = [] if word is None else [entry(word, has_bytes=True)]
        self._entries += found
        if not text and not found:
            return []
        return [self._at("response.output_text.delta", delta=text, logprobs=found)]

    def _end(self, ended: Ended) -> list[Sent]:
        self._ended, self._figures = ended, extension(ended)
        text, status = "".join(self._texts), self._status
        part = _part(text, self._entries)
        done = "response.completed" if status == "completed" else "response.incomplete"
        return [
            self._at("response.output_text.done", text=text, logprobs=self._entries),
            self._at("response.content_part.done", part=part),
            self._event(
                "response.output_item.done",
                output_index=0,
                item=self._message(status, content=[part]),
            ),
            self._event(done, response=self._response(status)),
        ]

    def _at(self, name: str, **more: Any) -> Sent:
        """An event about the only part of the only item."""
        return self._event(name, item_id=self._item, output_index=0, content_index=0, **more)

    def _event(self, name: str, **more: Any) -> Sent:
        number = self._sent
        self._sent += 1
        return Sent({"type": name, "sequence_number": number, **more}, name)

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, status: str) -> dict[str, Any]:
        echoed, ended = self._echoed, self._ended
        output = []
        if ended is not None:
            part = _part("".join(self._texts), self._entries)
            output = [self._message(status, content=[part])]
        is_cut = status == "incomplete"
        found: dict[str, Any] = {
            "id": self._echoed.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": stamps.now() if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "background": False,
            "instructions": echoed.instructions,
            "max_output_tokens": echoed.max_output_tokens,
            "metadata": dict(echoed.metadata),
            "model": echoed.model,
            "output": output,
            "parallel_tool_calls": echoed.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "temperature": echoed.temperature,
            "text": {"format": dict(echoed.format), "verbosity": "medium"},
            "tool_choice": echoed.tool_choice,
            "tools": [],
            "top_logprobs": echoed.best or 0,
            "top_p": echoed.top_p,
            "truncation": "disabled",
            "usage": None if ended is None else response_usage(ended.turn.usage),
            "user": echoed.user,
        }
        if ended is not None:
            found["edgeproxy"] = self._figures
        return found


def _part(text: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(entries)}
