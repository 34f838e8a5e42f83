"""`/v1/completions`: a text that is gone on with as it stands; how it is asked, and answered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.text import Utf8
from edgeproxy.serve.openai import fields, stamps
from edgeproxy.serve.openai.asking import check_stream_options, message_of, wanted
from edgeproxy.serve.openai.chunks import ChunkWriter, Told
from edgeproxy.serve.openai.shapes import Object
from edgeproxy.serve.openai.tokens import Word, legacy
from edgeproxy.serve.protocol import Known, Request, Sent

PREFIX = "cmpl-"
"""Of the ids of replies."""

USUAL_TOKENS = 16
"""So long is a reply at most where the request does not say; OpenAI has this number."""


def read_completion(body: Mapping[str, Any], known: Known, who: str) -> Request:
    """A request to `/v1/completions`; see `protocol.Read`."""
    given = Object(fields.COMPLETIONS).read(body)
    check_stream_options(given)
    prompt = given["prompt"]
    text: str = prompt if isinstance(prompt, str) else prompt[0]
    best = given.get("logprobs")
    wants = wanted(
        given,
        known,
        who,
        [message_of("user", text, "prompt")],
        max_tokens=given.get("max_tokens", USUAL_TOKENS),
        format_of=given.get("response_format"),
        is_raw=True,
        best=best,
        best_name="logprobs",
        called=stamps.new_id(PREFIX),
    )
    told = Told(
        given.get("model", known.name),
        wants.id,
        best,
        given.get("stream_options", {}).get("include_usage", False),
        given.get("return_progress", False),
    )
    return Request(wants, given.get("stream", False), partial(CompletionWriter, told))


class CompletionWriter(ChunkWriter):
    """Writes a reply as the protocol of completions has it."""

    whole_object = chunk_object = "text_completion"

    def __init__(self, told: Told, vocab: Vocab) -> None:
        super().__init__(told, vocab)
        self._utf8, self._length = Utf8(), 0
        self._starts: list[int] = []

    def _begin(self) -> list[Sent]:
        return []

    def _delta(self, text: str | None, word: Word | None, finish: str | None) -> dict[str, Any]:
        logprobs = None
        if word is not None:
            self._starts.append(self._length)
            self._length += len(self._utf8.push(word.token.data))
            logprobs = legacy([word], self._starts[-1:], self._told.best or 0)
        return {"index": 0, "text": text or "", "logprobs": logprobs, "finish_reason": finish}

    def _choice(self, text: str, finish: str) -> dict[str, Any]:
        best = self._told.best
        logprobs = None if best is None else legacy(self._said, self._starts, best)
        return {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
