"""Arguments of callers: a number is a number and in its range, or the error names it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TypeGuard

from edgeproxy.errors import UsageError


def whole(name: str, value: object, lowest: int | None = None, highest: int | None = None) -> int:
    """`value` as an int, lowest <= value <= highest. Raises `UsageError` naming `name`.

    A bool is no number, and neither is 2.0 or "2".
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, not {value!r}")
    value = int(value)
    if (lowest is not None and value < lowest) or (highest is not None and value > highest):
        raise UsageError(f"{name} must be {_range(lowest, highest)}, not {value}")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a number; a bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def number(name: str, value: object, lowest: float, highest: float) -> float:
    """`value` as a float, finite, lowest <= value <= highest. Raises `UsageError` naming `name`."""
    if not is_number(value):
        raise UsageError(f"{name} must be a number, not {value!r}")
    if not (math.isfinite(value) and lowest <= value <= highest):
        raise UsageError(f"{name} must be between {lowest:,} and {highest:,}, not {value}")
    return float(value)


def one_of(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise `UsageError` naming the `choices` where `value` is none of them."""
    known = list(choices)
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _range(lowest: int | None, highest: int | None) -> str:
    if highest is None:
        return f"at least {lowest:,}"
    return f"at most {highest:,}" if lowest is None else f"between {lowest:,} and {highest:,}"
