"""What a reply of an evaluation took, as a line of the file of replies has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeproxy.session.turn import Changed, Stats

_FASTEST = 1e12
"""Tokens a second; more are a damaged line, as infinitely many are."""


class Took(NamedTuple):
    """Tokens of a reply, tokens a second from the first one on, and how many the pair changed.

    The last two are None where they are not known.
    """

    tokens: int
    tokens_per_second: float | None
    changed: Changed | None

    @classmethod
    def of(cls, stats: Stats) -> Took:
        """Of a reply that took `stats`."""
        return cls(stats.tokens, stats.tokens_per_second, stats.changed)

    def as_json(self) -> dict[str, Any]:
        """As a line has it; `read_took` reads it again."""
        rate, changed = self.tokens_per_second, self.changed
        return {
            "tokens": self.tokens,
            "tokens_per_second": None if rate is None else round(rate, 3),
            "changed": None if changed is None else list(changed),
        }


def read_took(content: object) -> Took | None:
    """What a line says of it; None where that is nothing that `Took.as_json` gives."""
    match content:
        case {"tokens": tokens, "tokens_per_second": rate, "changed": changed}:
            pass
        case _:
            return None
    if not _is_count(tokens) or not (rate is None or _is_rate(rate)):
        return None
    if changed is None:
        return Took(tokens, rate, None)
    match changed:
        case [count, of] if _is_count(count) and _is_count(of) and of > 0 and count <= of:
            return Took(tokens, rate, Changed(count, of))
    return None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**12


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < _FASTEST
