"""What a chat was asked for, besides what the trio's manifest says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.session.overflow import Overflow

ASKED = "asked"
"""Under this name a session keeps which settings of the sampling were asked for."""


@dataclass
class Settings:
    """What a chat was asked for, besides what the trio's manifest says.

    `sampling` holds those fields of a `Sampling` that were asked for. `record` is how many of each
    row's best tokens are kept with a reply (see `Turn.steps`). Replies keep to `grammar`.
    """

    max_tokens: int
    sampling: dict[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    overflow: Overflow = "error"
    is_rendered: bool = True
    wraps: bool = False
    record: int = 0
    grammar: Grammar | None = None
    is_schema: bool = False
    """Whether `grammar` was a JSON schema."""

    def sampled(self, otherwise: Sampling) -> Sampling:
        """`otherwise`, with what was asked for. Raises `UsageError` for impossible values."""
        return replace(otherwise, **self.sampling)

    def hold(self, grammar: Grammar | None, is_schema: bool = False) -> None:
        """Hold replies to `grammar`, or to none."""
        self.grammar, self.is_schema = grammar, is_schema

    def as_kept(self, steering: Steering, sampling: Sampling) -> dict[str, Any]:
        """What a session keeps of how a reply was made, the seed that was drawn included."""
        kept = {
            "steering": steering,
            "sampling": sampling,
            "max_tokens": self.max_tokens,
            ASKED: sorted(self.sampling),
        }
        if self.stops:
            kept["stops"] = self.stops
        if self.grammar is not None:
            kept["grammar"] = self.grammar.name
        return kept
