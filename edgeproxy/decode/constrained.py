"""Draws of tokens that are held to a grammar.

The mask is laid over the fused row, so base and pair have their say among what the grammar allows.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeproxy.core.model import Logits
from edgeproxy.grammar.constraint import Constraint


class Constrained:
    """Draws the tokens of one reply as `draw` does, among those that `constraint` allows."""

    def __init__(self, draw: Callable[[Logits], int], constraint: Constraint) -> None:
        self._draw = draw
        self._constraint = constraint

    def __call__(self, row: Logits) -> int:
        """The token chosen from `row`, shape (n_vocab,). Raises `GrammarError`, and as `draw`."""
        token = self._draw(self._constraint.allow(row))
        self._constraint.accept(token)
        return token

    def is_over(self) -> bool:
        """Whether the reply is whole, and can have no other end."""
        return self._constraint.is_over

    def ahead(self) -> Constraint:
        """What holds a draft of the next tokens to the grammar."""
        return self._constraint.ahead()
