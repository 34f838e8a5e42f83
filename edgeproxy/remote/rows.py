"""Rows out of a server's answers, which are not taken on trust.

Each function raises `RemoteError` where an answer is not what the protocol says; `who` is the
server's address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
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

_NOTHING = -1e30
"""A log-probability below is that of no probability at all: llama-server says -3.4e38 then."""

_MOST_TOKENS = 2**31
"""Token ids are below this in every protocol."""


def member(answer: Any, name: str, kind: type[_Kind], who: str) -> _Kind:
    """What an object has under `name`, which must be of that kind."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RemoteError(who, f"it answered without {name!r}, which its protocol has")
    return value


def known_tokens(tokens: Sequence[Any], logprobs: Sequence[Any], who: str) -> Known:
    """A row of these tokens and log-probabilities; of a token that is told twice the former counts.

    Those that are told as minus infinity, or as nothing, are as if they had not been told. Raises
    `RemoteError` for what is no token or no log-probability.
    """
    found: dict[int, float] = {}
    for token, logprob in zip(tokens, logprobs, strict=True):
        token = token_id(token, who)
        if logprob is None:
            continue
        # Compared as it is: a whole number of JSON may be too large for a float.
        is_number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
        if not is_number or not logprob <= _ROUNDING:
            raise RemoteError(who, f"it gave {str(logprob)[:40]!r} as a log-probability")
        if logprob >= _NOTHING:
            found.setdefault(token, float(logprob))
    if not found:
        raise RemoteError(who, "it gave a row without any token")
    return Known(
        np.fromiter(found, np.int64, len(found)),
        np.fromiter(found.values(), np.float32, len(found)),
    )


def token_id(value: Any, who: str) -> int:
    """`value`, which must be a token's id. A bool is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise RemoteError(who, "it gave a token that is no number")
    if not 0 <= value < _MOST_TOKENS:
        raise RemoteError(who, f"it gave {str(value)[:40]} as a token, which none can be")
    return value


def check_bytes(said: Iterable[tuple[int, bytes]], vocab: Vocab, who: str) -> None:
    """Compare tokens' bytes, as a server says them, with the vocabulary's.

    Of tokens that are no text nothing is compared, nor are spaces around one: servers differ in
    how they say these.
    """
    for token, text in islice(said, _COMPARED):
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
