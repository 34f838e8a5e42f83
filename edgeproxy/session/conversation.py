"""Messages in, `Piece`s out: one model or a trio answering, and conversations that it remembers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic

from edgeproxy.align import own_tokens
from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import Piece, complete
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.stepwise import Decode, Evaluates, Prompt, stepwise
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import Format, Message, encode

DEFAULT_MAX_TOKENS = 256
GREEDY = Sampling()


class Speaker(Generic[Prompt]):
    """Whatever answers messages: a trio, or one model alone (see `trio_speaker`, `solo_speaker`).

    `encode` makes the prompt of a conversation. `resume` brings the model to where only the
    returned part of it is still to be read.
    """

    def __init__(
        self,
        model: Evaluates[Prompt],
        vocab: Vocab,
        encode: Callable[[Sequence[Message]], Prompt],
        resume: Callable[[Prompt], Prompt],
        endings: frozenset[int],
        weights: Weights | None = None,
        cancel: threading.Event | None = None,
        decode: Decode[Prompt] = stepwise,
    ) -> None:
        self._decode = decode
        self._model = model
        self._vocab = vocab
        self.encode = encode
        self._resume = resume
        self._endings = endings
        self._weights = weights
        self._cancel = cancel or threading.Event()

    def reply(
        self,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """The answer to the last message, piece by piece.

        Raises `PromptError` and `ContextFullError` before the first piece.
        """
        self._cancel.clear()
        sampler = Sampler(self._vocab, sampling, self._weights)
        try:
            yield from complete(
                self._resume(self.encode(messages)),
                self._model,
                self._vocab,
                sampler,
                decode=self._decode,
                max_tokens=max_tokens,
                endings=self._endings,
                stops=stops,
                cancel=self._cancel,
            )
        finally:
            sampler.close()


def trio_speaker(
    trio: Trio,
    formats: tuple[Format, Format, Format],
    vocabs: tuple[Vocab, Vocab, Vocab],
    endings: frozenset[int],
    weights: Weights | None = None,
    cancel: threading.Event | None = None,
    decode: Decode[RoleTokens] = stepwise,
) -> Speaker[RoleTokens]:
    """A trio that answers; each role reads the conversation in its own format and vocabulary.

    The tokens `endings` end a reply (see `align`). What the models have read of the same
    conversation is kept between replies. `weights`: the base's, for DRY. `decode`: the loop.
    """

    def encoded(messages: Sequence[Message]) -> RoleTokens:
        base, expert, anti_expert = (
            own_tokens(model, encode(layout(messages), vocab))
            for model, layout, vocab in zip(trio.models, formats, vocabs, strict=True)
        )
        return RoleTokens(base, expert, anti_expert)

    return Speaker(trio, trio.vocab, encoded, trio.resume, endings, weights, cancel, decode)


def solo_speaker(
    model: Model,
    layout: Format,
    weights: Weights | None = None,
    cancel: threading.Event | None = None,
) -> Speaker[Sequence[int]]:
    """One model that answers alone, from the beginning each time: what a trio is compared with."""

    def encoded(messages: Sequence[Message]) -> Sequence[int]:
        return encode(layout(messages), model.vocab)

    def resume(prompt: Sequence[int]) -> Sequence[int]:
        model.rewind(model.n_past)
        return prompt

    endings = model.vocab.end_of_generation
    return Speaker(model, model.vocab, encoded, resume, endings, weights, cancel)


class Conversation:
    """Turns that build on each other. `messages` is the whole of it, for reading or saving."""

    def __init__(self, speaker: Speaker[Any], system: str | None = None) -> None:
        self._speaker = speaker
        self.messages: list[Message] = []
        self.reset(system)

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with another system message or none."""
        self.messages = [Message("system", system)] if system else []

    def say(
        self,
        text: str,
        sampling: Sampling = GREEDY,
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> Iterator[Piece]:
        """Answer `text`. A reply that is cut short stays in the conversation as far as it came.

        A turn that fails before its first piece leaves the conversation as it was.
        """
        before = self.messages
        asked = [*before, Message("user", text)]
        reply = ""
        try:
            for piece in self._speaker.reply(asked, sampling, max_tokens):
                reply += piece.text
                yield piece
        finally:
            # An older reply that is closed late must not undo what came after it.
            if reply and self.messages is before:
                self.messages = [*asked, Message("assistant", reply)]
