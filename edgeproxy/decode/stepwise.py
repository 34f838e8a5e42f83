"""The decode loop. It does not know that there are three models."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from edgeproxy.core.model import Logits

Prompt = TypeVar("Prompt")
_Accepts = TypeVar("_Accepts", contravariant=True)


class Evaluates(Protocol[_Accepts]):
    """A `Model`, whose prompt is token ids, or a `Trio`, whose prompt differs by role."""

    def eval(self, tokens: Sequence[int] | _Accepts, rows: int = 1) -> Logits:
        """The rows that follow `tokens`."""


Steps = Generator[tuple[int, Logits], None, None]
"""Tokens, each with the row it was drawn from; closing it early is safe."""


class Decode(Protocol[Prompt]):
    """`stepwise`, or what yields the same some other way."""

    def __call__(
        self,
        prompt: Prompt,
        model: Evaluates[Prompt],
        sample: Callable[[Logits], int],
        max_tokens: int,
    ) -> Steps:
        """See `stepwise`."""


def stepwise(
    prompt: Prompt, model: Evaluates[Prompt], sample: Callable[[Logits], int], max_tokens: int
) -> Steps:
    """Yield at most `max_tokens` tokens, each with the row it was drawn from, shape (n_vocab,).

    The last token yielded is never yet in the model, so a consumer may stop at any time. A row is
    valid until the next token is asked for.
    """
    tokens: Sequence[int] | Prompt = prompt
    for _ in range(max_tokens):
        row = model.eval(tokens)[-1]
        token = sample(row)
        yield token, row
        tokens = [token]
