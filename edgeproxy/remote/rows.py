"""Rows out of a server's answers, which are not taken on trust.

Each function raises `RemoteError` where an answer is not what the protocol says; `who` is the
server's address.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import RemoteError
from edgeproxy.remote.predicts import Known

_Kind = TypeVar("_Kind")

_COMPARED = 4
"""So many of a row's likeliest tokens have their bytes compared with the vocabulary's."""

_ROUNDING = 1e-3
"""A log-probability may be above 0 by so much, which is how a server has rounded it."""


def member(answer: Any, name: str, kind: type[_Kind], who: str) -> _Kind:
    """What an object has under `name`, which must be of that kind."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RemoteError(who, f"it answered without {name!r}, which its protocol has")
    return value


def known_tokens(tokens: Sequence[Any], logprobs: Sequence[Any], who: str) -> Known:
    """A row of these tokens and log-probabilities; of a token that is told twice the former counts.

    Those that are told as minus infinity, or as nothing, are as if they had not been told.
    """
    found: dict[int, float] = {}
    for token, logprob in zip(tokens, logprobs, strict=True):
        if isinstance(token, bool) or not isinstance(token, int):
            raise RemoteError(who, "it gave a token that is no number")
        if logprob is None or logprob == -math.inf:
            continue
        is_number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
        if not is_number or not math.isfinite(logprob) or logprob > _ROUNDING:
            raise RemoteError(who, f"it gave {logprob!r} as a log-probability")
        found.setdefault(token, float(logprob))
    if not found:
        raise RemoteError(who, "it gave a row without any token")
    return Known(
        np.fromiter(found, np.int64, len(found)),
        np.fromiter(found.values(), np.float32, len(found)),
    )


def check_bytes(said: Iterable[tuple[int, bytes]], vocab: Vocab, who: str) -> None:
    """Compare tokens' bytes, as a server says them, with the vocabulary's.

    Of tokens that are no text nothing is compared, nor are spaces around one: servers differ in
    how they say these.
    """
    for token, text in list(said)[:_COMPARED]:
        if not 0 <= token < len(vocab):
            raise another_model(token, vocab, who)
        own = vocab.texts[token]
        if own and text and own.strip() != text.strip():
            raise RemoteError(
                who,
                f"it says that token {token} is {text!r}, and the tokenizer given for it says "
                f"{own!r}: it serves another model now; give the tokenizer of that one",
            )


def another_model(token: int, vocab: Vocab, who: str) -> RemoteError:
    """The error for a token that the vocabulary has not."""
    return RemoteError(
        who,
        f"it speaks of token {token}, and the tokenizer given for it has {len(vocab)} tokens: it "
        "serves another model; give the tokenizer of that one",
    )
