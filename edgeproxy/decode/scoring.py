"""How likely given tokens are: a model reads them after a prompt, and nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.compared import best_of, log_softmax
from edgeproxy.decode.pieces import log_probability
from edgeproxy.decode.stepwise import Evaluates, Prompt
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled

AT_ONCE = 32
"""So many tokens are read in one evaluation: as many rows as llama.cpp gives."""

LEAST = -100.0
"""The logarithm of a probability is no less: a token that a row rules out would make it -inf."""


class Likely(NamedTuple):
    """A token, the bytes that it adds to a text, and the natural logarithm of its probability."""

    token: int
    data: bytes
    logprob: float


class TokenScore(NamedTuple):
    """A token of a text, the bytes of it that the token is, and how likely it was there.

    `logprob` is the natural logarithm of its probability, -inf for 0, and None for the first token
    of a text, before which nothing says anything. `best` are the likeliest tokens at its place.
    """

    token: int
    data: bytes
    logprob: float | None
    best: tuple[Likely, ...] = ()


def score_of(token: int, data: bytes, row: Logits, vocab: Vocab, best: int) -> TokenScore:
    """What `row`, shape (n_vocab,), says of `token`, and of the `best` likeliest ones."""
    if not best:
        return TokenScore(token, data, log_probability(row, token))
    wide = log_softmax(row)
    likely = (Likely(each, vocab.piece(each), float(wide[each])) for each in best_of(wide, best))
    return TokenScore(token, data, float(wide[token]), tuple(likely))


def rows_before(
    prompt: Prompt, said: Sequence[int], model: Evaluates[Prompt], cancel: Cancel | None = None
) -> Iterator[tuple[int, Logits]]:
    """Each token of `said`, with the row that it could be drawn from after all before it.

    A row has the shape (n_vocab,), and is valid until the next one is asked for. What is still to
    be read of `prompt` is read first; the last of `said` is not read. Of a pair with a tokenizer of
    its own, what it says of these very tokens is made exact. Raises as `Model.eval` does, and
    `Cancelled`.
    """
    stepwise = model if isinstance(model, Trio) and model.is_stepwise else None
    at_once = 1 if stepwise else AT_ONCE
    tokens: Sequence[int] | Prompt = prompt
    rows, done = 1, 0
    while done < len(said):
        if cancel is not None and cancel.is_set():
            raise Cancelled("the evaluation was cancelled")
        after = said[done : done + rows]
        for token, row in zip(after, model.eval(tokens, rows), strict=True):
            yield token, stepwise.exact_for(token) if stepwise else row
        done += len(after)
        tokens = said[done - 1 : done - 1 + at_once][: len(said) - done]
        rows = len(tokens)


def log_probabilities(
    prompt: Prompt, said: Sequence[int], model: Evaluates[Prompt], cancel: Cancel | None = None
) -> list[float]:
    """log p(token | prompt, the tokens before it), in nats, for each token of `said`.

    p is the softmax of the model's rows, as at temperature 1. Reads and raises as `rows_before`.
    """
    rows = rows_before(prompt, said, model, cancel)
    return [max(log_probability(row, token), LEAST) for token, row in rows]
