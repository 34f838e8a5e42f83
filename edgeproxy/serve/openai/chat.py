"""`/v1/chat/completions` and `/v1/edgeproxy/explain`: how they are asked, and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from edgeproxy.serve.openai import fields, stamps
from edgeproxy.serve.openai.asking import (
    Given,
    check_length,
    check_stream_options,
    message_of,
    wanted,
)
from edgeproxy.serve.openai.chunks import ChunkWriter, Told
from edgeproxy.serve.openai.shapes import Object
from edgeproxy.serve.openai.tokens import Word, entry
from edgeproxy.serve.protocol import Known, RefusedError, Request, Sent

PREFIX = "chatcmpl-"
"""Of the ids of replies."""


def read_chat(body: Mapping[str, Any], known: Known, who: str) -> Request:
    """A request to `/v1/chat/completions`; see `protocol.Read`."""
    given = Object(fields.CHAT).read(body)
    return _request(given, known, who, "too" if given.get("explain") else "no")


def read_explain(body: Mapping[str, Any], known: Known, who: str) -> Request:
    """A request to `/v1/edgeproxy/explain`: a chat's, whose answer is its explanation.

    As a stream it is a chat's, with an event "explanation" before the last one.
    """
    return _request(Object(fields.EXPLAINED).read(body), known, who, "alone")


def _request(
    given: Given, known: Known, who: str, explains: Literal["no", "too", "alone"]
) -> Request:
    check_stream_options(given)
    messages = [
        message_of(each["role"], each["content"], f"messages[{n}]")
        for n, each in enumerate(given["messages"])
    ]
    check_length(messages, "messages")
    best = _best(given)
    wants = wanted(
        given,
        known,
        who,
        messages,
        max_tokens=_max_tokens(given),
        format_of=given.get("response_format"),
        best=best,
        explains=explains != "no",
        called=stamps.new_id(PREFIX),
    )
    told = Told(
        given.get("model", known.name),
        wants.id,
        best,
        given.get("stream_options", {}).get("include_usage", False),
        given.get("return_progress", False),
        explains,
        given.get("metadata"),
    )
    return Request(wants, given.get("stream", False), partial(ChatWriter, told))


def _best(given: Given) -> int | None:
    """How many rivals of each token are told; None where log-probabilities are not asked for."""
    best: int = given.get("top_logprobs", 0)
    if given.get("logprobs"):
        return best
    if best:
        raise RefusedError("top_logprobs needs logprobs to be true", "top_logprobs")
    return None


def _max_tokens(given: Given) -> int | None:
    """The longest reply, under either of its names."""
    older, newer = given.get("max_tokens"), given.get("max_completion_tokens")
    if older is not None and newer is not None and older != newer:
        what = "max_tokens and max_completion_tokens are the same and differ: give one of them"
        raise RefusedError(what, "max_tokens", "invalid_value")
    found: int | None = older if newer is None else newer
    return found


class ChatWriter(ChunkWriter):
    """Writes a reply as chat's protocol has it."""

    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def _begin(self) -> list[Sent]:
        opening = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk(self._delta(None, None, None) | {"delta": opening})]

    def _delta(self, text: str | None, word: Word | None, finish: str | None) -> dict[str, Any]:
        return {
            "index": 0,
            "delta": {} if text is None else {"content": text},
            "logprobs": None if word is None else _logprobs([word]),
            "finish_reason": finish,
        }

    def _choice(self, text: str, finish: str) -> dict[str, Any]:
        return {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None if self._told.best is None else _logprobs(self._said),
            "finish_reason": finish,
        }


def _logprobs(words: Sequence[Word]) -> dict[str, Any]:
    return {"content": [entry(word) for word in words], "refusal": None}
