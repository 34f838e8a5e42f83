"""What a chat was asked for, besides what the trio's manifest says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.session.overflow import Overflow


@dataclass
class Settings:
    """What a chat was asked for, besides what the trio's manifest says.

    `sampling` holds those fields of a `Sampling` that were asked for. `record` is how many of each
    row's best tokens are kept with a reply (see `Turn.steps`).
    """

    max_tokens: int
    sampling: dict[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    overflow: Overflow = "error"
    is_rendered: bool = True
    wraps: bool = False
    record: int = 0

    def sampled(self, otherwise: Sampling) -> Sampling:
        """`otherwise`, with what was asked for. Raises `UsageError` for impossible values."""
        return replace(otherwise, **self.sampling)
