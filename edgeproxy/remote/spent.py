"""What asking a server has cost: requests, tokens, bytes, seconds, and money by its prices."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from edgeproxy.remote.traffic import Traffic

MILLION = 1_000_000
_MOST = 1_000_000_000
"""Tokens of one prompt: whoever says more is wrong."""
_PRICES = ("price_in", "price_out")


@dataclass
class Spent:
    """Totals since a server was connected to, or since another such was taken away from it.

    `tokens_in` are those of all prompts, `tokens_cached` those of them that the server says it had
    read before, `tokens_out` those that it drew. `price_in` and `price_out` are for a million
    tokens; a server's own discounts are not known.
    """

    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0

    def add(self, tokens_in: int, tokens_cached: int, tokens_out: int) -> None:
        """Count the tokens of one prompt and its answer, as a server says; no impossible number."""
        self.tokens_in += _possible(tokens_in)
        self.tokens_cached += _possible(tokens_cached)
        self.tokens_out += _possible(tokens_out)

    def count(self, more: Traffic) -> None:
        """Count what went to and fro."""
        self.requests += more.requests
        self.retries += more.retries
        self.bytes_sent += more.bytes_sent
        self.bytes_received += more.bytes_received
        self.seconds += more.seconds

    def plus(self, other: Spent) -> Spent:
        """Both together, at these prices."""
        counted: dict[str, Any] = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name not in _PRICES
        }
        return replace(self, **counted)

    @property
    def money(self) -> float:
        """What these tokens cost; 0 where there are no prices."""
        return (self.tokens_in * self.price_in + self.tokens_out * self.price_out) / MILLION

    def since(self, before: Spent) -> Spent:
        """What has been spent after `before` was noted."""
        counted: dict[str, Any] = {
            each.name: getattr(self, each.name) - getattr(before, each.name)
            for each in fields(self)
            if each.name not in _PRICES
        }
        return replace(self, **counted)


def _possible(count: int) -> int:
    return max(0, min(count, _MOST))
