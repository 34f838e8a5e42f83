"""Compares what llama.cpp says by a tolerance: nobody promises equal bits.

The same tokens in other KV cells, batches or threads, or after a rewind, are added up in another
order, which differs between processors; what is rounded to 16 or 8 bits on the way may then fall to
the other side. Greedy replies part where two tokens are as good as each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.prompts.formats import Message
from edgeproxy.session.session import Session

NEAR = 1e-3
"""Logits of a random float32 model: rounding makes 1e-5, another token in the text 0.01 or more."""

NEAR_QUANTISED = 0.05
"""Logits of a shipped model of 8 bits: one other token in the text makes 0.15 to 0.3."""

RowAfter = Callable[[Sequence[int]], Logits]
"""The row, of shape (n_vocab,), that follows a prompt and these tokens of the reply."""


def assert_near(rows: Logits, others: Logits, atol: float = NEAR) -> None:
    """Rows of one shape, no number of which differs by more than `atol`."""
    assert rows.shape == others.shape
    np.testing.assert_allclose(rows, others, rtol=0.0, atol=atol)


def assert_same_reply(
    said: Sequence[int], wanted: Sequence[int], row_after: RowAfter, atol: float = NEAR
) -> None:
    """Greedy replies that are one, or part where the two tokens are nearer than `atol` nats.

    What follows such a place is another text, of which nothing is known. A reply that is merely the
    beginning of the other is wrong.
    """
    parts = (n for n, pair in enumerate(zip(said, wanted, strict=False)) if pair[0] != pair[1])
    place = next(parts, None)
    if place is None:
        assert len(said) == len(wanted)
        return
    row = row_after(wanted[:place])
    margin = float(abs(row[said[place]] - row[wanted[place]]))
    assert margin <= atol, f"{said} parts from {wanted} after {place}, by {margin} nats"


def rows_of(session: Session, question: str | Sequence[Message]) -> RowAfter:
    """The fused rows of `session` after a question, or messages; without the mask."""
    messages = [Message("user", question)] if isinstance(question, str) else question

    def row_after(said: Sequence[int]) -> Logits:
        trio = session.trio
        trio.steering = replace(session.steering, plausibility=0.0)
        prompt = session.trio_speaker.encode(messages)
        text = type(prompt)(*([*tokens, *said] for tokens in prompt))
        row: Logits = trio.eval(trio.resume(text))[-1]
        return row

    return row_after
