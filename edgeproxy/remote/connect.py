"""Connecting to a base on a server: what it is, what it can do, and which way it takes part."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import NamedTuple

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import (
    RemoteBusyError,
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
    UsageError,
)
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.remote.llama_server import LlamaServer
from edgeproxy.remote.openai import LARGEST_BIAS, MOST_BIASED, OpenAI, find
from edgeproxy.remote.predicts import Draws, Offer, Predicts, Way
from edgeproxy.remote.speaking import Http
from edgeproxy.remote.spent import Spent

USUAL_LOGPROBS = 200
"""So many log-probabilities of a row are asked for, where nobody asks for another number."""

_OFFERED = (1000, 100, 20, 5)
"""Numbers of log-probabilities that servers allow, tried in this order."""

_SAID_LIMIT = re.compile(r"max allowed: (\d{1,9})|logprobs\W* must be in \[0, (\d{1,9})\]")
"""How vLLM says its --max-logprobs, and MAX its limit."""

_NOT_TAKEN = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What servers say of a prompt of another kind than theirs; llama_cpp.server says 500."""

_TEXT = "The quick brown fox jumps over 12 lazy dogs: "
"""What is tokenised at the server and here, to see whether both have the same tokenizer."""

_BIASED_BY = 100.0


class Connected(NamedTuple):
    """A server, the way in which it takes part, and how many log-probabilities it is asked for."""

    server: Predicts
    way: Way
    k: int


def connect(
    endpoint: Endpoint, http: Http, vocab: Vocab, cancel: Cancel | None = None
) -> Connected:
    """Find out what the server at `http` can do, and choose how it takes part.

    `vocab` is that of its model, with a tokenizer. Raises `RemoteError`, `UsageError` for a way
    that the server cannot go, `Cancelled`.
    """
    try:
        return _Probe(endpoint, http, vocab, cancel).connected()
    except BaseException:
        http.close()
        raise


def beside(server: Predicts, http: Http) -> Predicts:
    """The same `server` for somebody else, over connections of their own; nothing is sent.

    Costs are counted apart, and so is what a prefix cache holds.
    """
    assert isinstance(server, LlamaServer | OpenAI)
    return server.beside(http)


@dataclass(frozen=True)
class _Probe:
    endpoint: Endpoint
    http: Http
    vocab: Vocab
    cancel: Cancel | None

    def connected(self) -> Connected:
        server = self._llama_server() or self._openai()
        way = self._way(server.offer)
        return Connected(server, way, self._k(server.offer))

    @property
    def _spent(self) -> Spent:
        return Spent(price_in=self.endpoint.price_in, price_out=self.endpoint.price_out)

    def _llama_server(self) -> Predicts | None:
        if self.endpoint.protocol == "openai":
            return None
        try:
            offer = LlamaServer.find(self.http, self.cancel)
        except RemoteRefusedError as error:
            # It has no such path, or keeps it from this key: another server, or one that is wrong.
            if self.endpoint.protocol or error.status in (401, 403):
                raise
            offer = None
        if offer is None:
            if self.endpoint.protocol:
                raise RemoteError(
                    str(self.http.address), "this is no llama-server; leave its protocol out"
                )
            return None
        self._compare_tokens("/tokenize", {"content": _TEXT}, "tokens")
        return LlamaServer(self.http, self.vocab, offer, self._spent)

    def _openai(self) -> Predicts:
        software, model, n_ctx = find(self.http, self.endpoint.model, self.cancel)
        n_ctx = self.endpoint.context or n_ctx
        offer = Offer(software, model, n_ctx or 0, 0, rows_at_once=False, takes_bias=False)
        is_vllm = software == "vLLM"
        if is_vllm:
            self._compare_tokens("/tokenize", {"model": model, "prompt": _TEXT}, "tokens")
        prompt = self.vocab.encode(_TEXT, first=True)
        if self.vocab.add_bos and self.vocab.bos is not None:
            prompt = [self.vocab.bos, *prompt]
        most = self._most_logprobs(offer, prompt)
        server = self._speaking(replace(offer, most_logprobs=most))
        # Several prompts in one request: where that is refused, they are asked one by one.
        many = (
            self._can(
                lambda: self._speaking(replace(offer, most_logprobs=most, rows_at_once=True)).rows(
                    [*prompt, prompt[-1]], 2, most, self.cancel
                )
            )
            if most
            else False
        )
        takes_bias = self._takes_bias(server, prompt)
        if not most and not takes_bias:
            self._check_takes_ids(server, prompt)
        if n_ctx is None:
            raise UsageError(
                f"{self.http.address} does not say how many tokens its context has; say it: "
                "--base-context, or context in the manifest's [base]"
            )
        return self._speaking(
            replace(
                offer,
                most_logprobs=most,
                rows_at_once=many,
                takes_bias=takes_bias,
                tells_any_token=is_vllm and takes_bias,
                most_biased=None if is_vllm else MOST_BIASED,
                largest_bias=LARGEST_BIAS,
            )
        )

    def _speaking(self, offer: Offer) -> OpenAI:
        return OpenAI(self.http, self.vocab, offer, self._spent)

    def _most_logprobs(self, offer: Offer, prompt: list[int]) -> int:
        """How many log-probabilities the server gives; 0 for none."""
        wanted = self._wanted
        left, limit = [wanted, *(n for n in _OFFERED if n < wanted)], 0
        while left:
            k = left.pop(0)
            server = self._speaking(replace(offer, most_logprobs=k))
            try:
                [row] = server.rows(prompt, 1, k, self.cancel)
            except RemoteRefusedError as error:
                if error.status in (401, 403, 404):
                    raise
                said = _SAID_LIMIT.search(error.what)
                if said and 0 < (limit := int(said[1] or said[2])) < k:
                    left = [limit, *(n for n in left if n < limit)]
            except (RemoteBusyError, RemoteUnreachableError):
                raise  # which says nothing of what it can do
            except RemoteError:
                return 0
            else:
                self._check_read(server.spent.tokens_in, len(prompt))
                told = k if k == limit else min(k, len(row.tokens))
                # It may give fewer than are asked for, and of some not say which tokens they are.
                return min(n for n in (k, *_OFFERED) if told <= n <= k)
        return 0

    def _check_read(self, read: int, sent: int) -> None:
        """Raise `RemoteError` where a server says of a prompt that it has read something else.

        It may say nothing, which is 0, and may put a token before each text.
        """
        if read and read not in (sent, sent + 1):
            raise RemoteError(
                str(self.http.address),
                f"it was sent {sent} tokens and says that it has read {read}, so its ids are of "
                "another tokenizer; serve the same model with llama-server or vLLM instead",
            )

    def _check_takes_ids(self, server: Predicts, prompt: list[int]) -> None:
        """Raise `RemoteError` where the server takes no prompt of token ids."""
        try:
            server.draw(prompt, {}, Draws(), self.cancel)
        except RemoteError as error:
            if error.status == HTTPStatus.INTERNAL_SERVER_ERROR or error.status in _NOT_TAKEN:
                raise RemoteError(
                    str(self.http.address),
                    f"it takes no prompt of token ids ({error.status}), and edgeproxy sends no "
                    "other: serve the same model with llama-server or vLLM instead of this "
                    "program (python -m llama_cpp.server and transformers serve are such)",
                    error.status,
                ) from None

    def _takes_bias(self, server: Predicts, prompt: list[int]) -> bool:
        """Whether a large bias makes the server draw a token that it would not draw."""
        middle = len(self.vocab) // 2
        tokens = [*range(middle, len(self.vocab)), *range(middle)]
        token = next(filter(self._is_plain, tokens), None)
        if token is None:
            return False
        return self._can(
            lambda: server.draw(prompt, {token: _BIASED_BY}, Draws(), self.cancel).token == token
        )

    def _is_plain(self, token: int) -> bool:
        text = self.vocab.texts[token]
        return len(text) > 2 and text.isalpha()

    def _can(self, asked: Callable[[], object]) -> bool:
        """Whether the server does this; what it refuses or garbles it cannot do."""
        try:
            return bool(asked())
        except RemoteRefusedError as error:
            if error.status in (401, 403, 404):
                raise
            return False
        except (RemoteBusyError, RemoteUnreachableError):
            raise
        except RemoteError:
            return False

    def _compare_tokens(self, path: str, body: dict[str, object], name: str) -> None:
        """Tokenise a text there and here. Raises `RemoteError` where that differs."""
        try:
            answer = self.http.post(path, body, self.cancel)
        except RemoteRefusedError as error:
            if error.status in (401, 403):
                raise
            return  # it has no such path; each row's tokens are compared anyway
        told = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(told, list):
            return
        here = self.vocab.encode(_TEXT, first=True)
        there = told[1:] if told[:1] == [self.vocab.bos] else told
        if there != here:
            raise RemoteError(
                str(self.http.address),
                f"it makes other tokens of a text than {self._tokenizer}: give the tokenizer of "
                "the model that it serves",
            )

    @property
    def _tokenizer(self) -> str:
        return "the tokenizer that was given for it"

    @property
    def _wanted(self) -> int:
        """How many log-probabilities of a row are asked for: no more than there are tokens."""
        return min(self.endpoint.logprobs or USUAL_LOGPROBS, len(self.vocab))

    def _k(self, offer: Offer) -> int:
        most = offer.most_logprobs
        return self._wanted if most is None else min(self._wanted, most)

    def _way(self, offer: Offer) -> Way:
        """The way that was asked for, or the best that the server can go."""
        k = self._k(offer)
        best: Way | None = None
        if k:
            best = "rows" if k >= self._wanted else "top-k"
        elif offer.takes_bias:
            best = "bias"
        asked = self.endpoint.way
        if asked == "bias" and not offer.takes_bias:
            raise UsageError(f"{self.http.address} takes no logit_bias; choose another way")
        if asked in ("rows", "top-k") and not k:
            raise UsageError(f"{self.http.address} gives no log-probabilities; choose another way")
        if asked or best:
            return asked or best or "rows"
        raise RemoteError(
            str(self.http.address),
            "it gives no log-probabilities of tokens and takes no logit_bias, and without one of "
            "these no base can be steered",
        )
