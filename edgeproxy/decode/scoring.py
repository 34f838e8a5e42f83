"""How likely given tokens are: a model reads them after a prompt, and nothing is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Logits
from edgeproxy.decode.pieces import log_probability
from edgeproxy.decode.stepwise import Evaluates, Prompt
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled

AT_ONCE = 32
"""So many tokens are read in one evaluation: as many rows as llama.cpp gives."""

LEAST = -100.0
"""The logarithm of a probability is no less: a token that a row rules out would make it -inf."""


def log_probabilities(
    prompt: Prompt, said: Sequence[int], model: Evaluates[Prompt], cancel: Cancel | None = None
) -> list[float]:
    """log p(token | prompt, the tokens before it), in nats, for each token of `said`.

    p is the softmax of the model's rows, as at temperature 1. What is still to be read of `prompt`
    is read first; the last of `said` is not read. Of a pair with a tokenizer of its own, what it
    says of these very tokens is made exact. Raises as `Model.eval` does, and `Cancelled`.
    """
    stepwise = model if isinstance(model, Trio) and model.is_stepwise else None
    at_once = 1 if stepwise else AT_ONCE

    def score(row: Logits, token: int) -> float:
        row = stepwise.exact_for(token) if stepwise else row
        return max(log_probability(row, token), LEAST)

    found: list[float] = []
    tokens: Sequence[int] | Prompt = prompt
    rows = 1
    while len(found) < len(said):
        if cancel is not None and cancel.is_set():
            raise Cancelled("the evaluation was cancelled")
        after = said[len(found) : len(found) + rows]
        found += map(score, model.eval(tokens, rows), after)
        tokens = said[len(found) - 1 : len(found) - 1 + at_once][: len(said) - len(found)]
        rows = len(tokens)
    return found
