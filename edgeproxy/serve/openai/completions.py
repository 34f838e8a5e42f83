"""`/v1/completions`: a text that is gone on with as it stands; how it is asked, and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.text import Utf8
from edgeproxy.errors import PromptError
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.openai import fields, stamps
from edgeproxy.serve.openai.asking import check_stream_options, message_of, wanted
from edgeproxy.serve.openai.chunks import ChunkWriter, Told
from edgeproxy.serve.openai.models import answers_of
from edgeproxy.serve.openai.shapes import Object
from edgeproxy.serve.openai.tokenizing import text_of
from edgeproxy.serve.openai.tokens import Word, legacy
from edgeproxy.serve.protocol import Known, RefusedError, Request, Sent
from edgeproxy.session.given import check_tokens

PREFIX = "cmpl-"
"""Of the ids of replies."""

USUAL_TOKENS = 16
"""So long is a reply at most where the request does not say; OpenAI has this number."""


def read_completion(body: Mapping[str, Any], known: Known, who: str) -> Request:
    """A request to `/v1/completions`; see `protocol.Read`."""
    given = Object(fields.COMPLETIONS).read(body)
    check_stream_options(given)
    prompt: str | list[int] = given["prompt"]
    messages: list[Message] = []
    tokens: list[int] = []
    if isinstance(prompt, str):
        messages = [message_of("user", prompt, "prompt")]
    else:
        tokens = _checked(prompt, known, given)
    echoes = given.get("echo", False)
    max_tokens = given.get("max_tokens", USUAL_TOKENS)
    if not max_tokens and not echoes:
        what = "max_tokens must be at least 1, but for 0 with echo, which asks for the prompt alone"
        raise RefusedError(what, "max_tokens", "integer_below_min_value")
    best = given.get("logprobs")
    wants = wanted(
        given,
        known,
        who,
        messages,
        max_tokens=max_tokens,
        format_of=given.get("response_format"),
        is_raw=True,
        best=best,
        best_name="logprobs",
        tokens=tokens,
        echoes=echoes,
        called=stamps.new_id(PREFIX),
    )
    told = Told(
        given.get("model", known.name),
        wants.id,
        best,
        given.get("stream_options", {}).get("include_usage", False),
        given.get("return_progress", False),
    )
    make_writer = partial(CompletionWriter, told, prompt if echoes else "")
    return Request(wants, given.get("stream", False), make_writer)


def _checked(tokens: list[int], known: Known, given: Mapping[str, Any]) -> list[int]:
    """Refuse ids of what is no token of a text, where the vocabulary is known already."""
    if known.vocab is not None and answers_of(given.get("model"), known) == "trio":
        try:
            check_tokens(tokens, known.vocab)
        except PromptError as error:
            raise RefusedError(f"prompt: {error}", "prompt", "invalid_value") from None
    return tokens


class CompletionWriter(ChunkWriter):
    """Writes a reply as the protocol of completions has it."""

    whole_object = chunk_object = "text_completion"

    def __init__(self, told: Told, echoed: str | Sequence[int], vocab: Vocab) -> None:
        super().__init__(told, vocab)
        self._utf8, self._length = Utf8(), 0
        self._starts: list[int] = []
        if not isinstance(echoed, str):
            echoed = text_of(echoed, vocab)
        self._prompt = echoed

    def _begin(self) -> list[Sent]:
        """The prompt, where it is asked for; the tokens of the reply stand behind its own."""
        for word in self._echoed:
            self._starts.append(self._length)
            self._length += len(self._utf8.push(word.token.data))
        self._length = len(self._prompt)
        self._utf8 = Utf8()
        if not self._prompt:
            return []
        best = self._told.best
        is_told = best is not None and bool(self._echoed)
        logprobs = legacy(self._echoed, self._starts, best or 0) if is_told else None
        choice = self._delta(self._prompt, None, None) | {"logprobs": logprobs}
        return [self._chunk(choice)]

    def _delta(self, text: str | None, word: Word | None, finish: str | None) -> dict[str, Any]:
        logprobs = None
        if word is not None:
            self._starts.append(self._length)
            self._length += len(self._utf8.push(word.token.data))
            logprobs = legacy([word], self._starts[-1:], self._told.best or 0)
        return {"index": 0, "text": text or "", "logprobs": logprobs, "finish_reason": finish}

    def _choice(self, text: str, finish: str) -> dict[str, Any]:
        best = self._told.best
        words = [*self._echoed, *self._said]
        logprobs = None if best is None else legacy(words, self._starts, best)
        return {
            "index": 0,
            "text": self._prompt + text,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
