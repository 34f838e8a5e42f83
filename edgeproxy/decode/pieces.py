"""A prompt in tokens -> `Piece`s of text, to the end of the reply and why it ended there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.check import whole
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.stepwise import Decode, Evaluates, Prompt, stepwise
from edgeproxy.decode.text import StopStrings, Utf8
from edgeproxy.errors import Cancelled, ContextFullError

FinishReason = Literal["stop", "length", "context", "cancelled"]


@dataclass(frozen=True)
class Piece:
    """One token of a reply.

    - `text`: what is now certain to be shown; may be empty, and may lag behind the token by half a
      character or the beginning of a stop string.
    - `token`: its id in the base's vocabulary; None in a last piece that no token came with.
    - `logprob`: log of its probability in the fused distribution, mask included, before sampling;
      None where a server drew it.
    - `finish_reason`: None but for the last piece: "stop" (the model ended the turn, or a stop
      string came), "length" (max_tokens), "context" (no room left), "cancelled".
    """

    text: str
    token: int | None
    logprob: float | None
    finish_reason: FinishReason | None = None


def complete(
    prompt: Prompt,
    model: Evaluates[Prompt],
    vocab: Vocab,
    sample: Callable[[Logits], int],
    *,
    decode: Decode[Prompt] = stepwise,
    max_tokens: int,
    endings: frozenset[int],
    stops: Sequence[str] = (),
    cancel: Cancel | None = None,
    has_rows: bool = True,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """Yield the reply to `prompt`; the last piece carries the finish reason.

    `decode` is the loop: `stepwise`, or one that drafts. `endings` are the token ids that end the
    reply, left out of its text; so does `is_over`, asked after each token. Without `has_rows` a row
    says only which token was drawn. Setting
    `cancel` ends it within a token, also while the prompt is read. Raises `ContextFullError` when
    the prompt itself does not fit and `UsageError` for max_tokens below 1.
    """
    whole("max_tokens", max_tokens, 1)
    utf8, stop = Utf8(), StopStrings(stops)

    def rest() -> str:
        return stop.push(utf8.flush()) + stop.flush()

    # Where a reply is cut, half a character is no damaged one: it is left out.

    count = 0
    steps = decode(prompt, model, sample, max_tokens)
    try:
        for token, row in steps:
            count += 1
            logprob = log_probability(row, token) if has_rows else None
            if token in endings:
                yield Piece(rest(), token, logprob, "stop")
                return
            text = stop.push(utf8.push(vocab.piece(token)))
            if stop.stopped:
                yield Piece(text, token, logprob, "stop")
                return
            if is_over():
                yield Piece(text + rest(), token, logprob, "stop")
                return
            if count == max_tokens:
                yield Piece(text + stop.flush(), token, logprob, "length")
                return
            yield Piece(text, token, logprob)
            if cancel is not None and cancel.is_set():
                raise Cancelled("the reply was cancelled")
    except Cancelled:
        yield Piece(stop.flush(), None, None, "cancelled")
    except ContextFullError:
        if count == 0:
            raise
        yield Piece(stop.flush(), None, None, "context")
    finally:
        # At once, and not whenever it is collected: a draft must leave the models before the next.
        steps.close()


def log_probability(row: Logits, token: int) -> float:
    """log softmax(row)[token]; masked tokens are -inf in `row` and count for nothing."""
    largest = row.max()
    return float(row[token] - largest) - math.log(float(np.exp(row - largest).sum()))
