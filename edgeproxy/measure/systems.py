"""Who answers the questions of an evaluation: a model alone, or a trio, steered one way or another.

A system is named by its role: base, anti_expert, expert, proxy, tuned. A variant of the proxy names
what of the trio's steering it changes: `proxy/base_weight=0.5/policy=unsure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, cast

from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError

SYSTEMS = ("base", "anti_expert", "expert", "proxy", "tuned")
"""What answers: each model alone, and the three together as the proxy; in their usual order."""

PROXY = "proxy"

GENERAL = ("base", "proxy", "tuned")
"""The roles that questions outside of the task are asked of: who may have lost what it knew."""

_NUMBERS = ("alpha", "base_weight", "plausibility")
_FIELDS = tuple(field.name for field in fields(Steering))


def role_of(system: str) -> str:
    """The role that a system's name begins with."""
    return system.partition("/")[0]


def change_of(system: str) -> Change:
    """What a system's name changes of the steering. Raises `UsageError` for what it cannot."""
    change: dict[str, Any] = {}
    for part in system.split("/")[1:]:
        name, is_given, value = part.partition("=")
        if name not in _FIELDS or not is_given:
            raise UsageError(
                f"{system}: {part!r} changes nothing of the steering; "
                f"write NAME=VALUE, where NAME is one of {', '.join(_FIELDS)}"
            )
        if name in change:
            raise UsageError(f"{system}: {name} is there twice")
        change[name] = _number(system, name, value) if name in _NUMBERS else value
    return cast(Change, change)


def _number(system: str, name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{system}: {name} must be a number, not {value!r}") from None


def steering_of(system: str, steering: Steering) -> Steering | None:
    """What a variant makes of `steering`; None for a system that is none. Raises `UsageError`."""
    change = change_of(system)
    try:
        return steering.changed(change) if change else None
    except UsageError as error:
        raise UsageError(f"{system}: {error}") from None


def read_systems(names: str, steering: Steering) -> list[str]:
    """The systems in a list with commas between, in their usual order, each one once.

    Variants stand behind the proxy as they were given, and are of this `steering`. Raises
    `UsageError` for a system that there is not.
    """
    wanted = dict.fromkeys(_named(name.strip(), steering) for name in names.split(","))
    return sorted(wanted, key=lambda system: (SYSTEMS.index(role_of(system)), "/" in system))


def _named(given: str, steering: Steering) -> str:
    """The one name of a system that may be written in several ways."""
    role, *parts = given.split("/")
    role = role.replace("-", "_")
    if role not in SYSTEMS:
        raise UsageError(f"there is no system {given!r}; there are {', '.join(SYSTEMS)}")
    if not parts:
        return role
    if role != PROXY:
        raise UsageError(f"{given}: only the proxy has variants, such as proxy/base_weight=0.5")
    keys = (part.partition("=") for part in parts)
    name = "/".join([role, *(f"{key.replace('-', '_')}{sign}{value}" for key, sign, value in keys)])
    change = change_of(name)
    steering_of(name, steering)
    said = {k: v if isinstance(v, str) else f"{v:g}" for k, v in change.items()}
    return "/".join([role, *(f"{k}={said[k]}" for k in _FIELDS if k in said)])


def by_role(systems: Iterable[str]) -> dict[str, list[str]]:
    """The systems of each role: those that the same models answer for, one after another."""
    found: dict[str, list[str]] = {}
    for system in systems:
        found.setdefault(role_of(system), []).append(system)
    return found


def is_asked(system: str, is_general: bool) -> bool:
    """Whether a question is asked of a system: those outside of the task not of all."""
    return not is_general or role_of(system) in GENERAL


def leader(systems: Sequence[str]) -> str | None:
    """The proxy that the others are compared with: as the trio is steered, or the first variant."""
    return next((system for system in systems if role_of(system) == PROXY), None)
