"""Who answers the questions of an evaluation: a model alone, or a trio, steered one way or another.

A system is named by its role: base, anti_expert, expert, proxy, tuned. A variant of the proxy names
what of the trio's steering it changes, `proxy/base_weight=0.5/plausibility=0.05`, and a variant of
any role who reads documents: `expert/docs=expert`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, cast

from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.session.reading import ROLES, check_readers
from edgeproxy.trios.manifest import Readers

SYSTEMS = ("base", "anti_expert", "expert", "proxy", "tuned")
"""What answers: each model alone, and the three together as the proxy; in their usual order."""

PROXY = "proxy"

GENERAL = ("base", "proxy", "tuned")
"""The roles that questions outside of the task are asked of: who may have lost what it knew."""

USUAL_AT_ONCE, MOST_AT_ONCE = 4, 64
"""So many questions are asked at once of a server that does not say how many it takes; at most."""

_FIELDS = tuple(field.name for field in fields(Steering) if field.name != "expert_ends")
"""What a variant may change of the steering, each a number; where replies end is the trio's own."""

_DOCS = "docs"


def role_of(system: str) -> str:
    """The role that a system's name begins with."""
    return system.partition("/")[0]


def change_of(system: str) -> Change:
    """What a system's name changes of the steering. Raises `UsageError` for what it cannot."""
    change = {name: value for name, value in _changes(system).items() if name != _DOCS}
    return cast(Change, change)


def readers_of(system: str) -> Readers | None:
    """Who reads documents by a system's name; None where it does not say. Raises `UsageError`."""
    return cast(Readers | None, _changes(system).get(_DOCS))


def _changes(system: str) -> dict[str, Any]:
    """What the parts of a system's name say, behind its role."""
    known = (*_FIELDS, _DOCS) if role_of(system) == PROXY else (_DOCS,)
    changes: dict[str, Any] = {}
    for part in system.split("/")[1:]:
        name, is_given, value = part.partition("=")
        if name in _FIELDS and name not in known:
            raise UsageError(f"{system}: only the proxy has variants that are steered otherwise")
        if name not in known or not is_given:
            raise UsageError(
                f"{system}: {part!r} changes nothing of the {role_of(system)}; "
                f"write NAME=VALUE, where NAME is one of {', '.join(known)}"
            )
        if name in changes:
            raise UsageError(f"{system}: {name} is there twice")
        changes[name] = _number(system, name, value) if name in _FIELDS else value
    if _DOCS in changes:
        _check_reads(system, changes[_DOCS])
    return changes


def _check_reads(system: str, readers: Readers) -> None:
    """Raise `UsageError` where a system's name says of a model alone that another one reads."""
    try:
        check_readers(readers)
    except UsageError as error:
        raise UsageError(f"{system}: {error}") from None
    role = role_of(system)
    if role != PROXY and readers != "nobody" and role not in ROLES[readers]:
        raise UsageError(f"{system}: alone, the {role} can read itself, or nobody")


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
    keys = (part.partition("=") for part in parts)
    name = "/".join([role, *(f"{key.replace('-', '_')}{sign}{value}" for key, sign, value in keys)])
    changes = _changes(name)
    steering_of(name, steering)
    said = {k: v if isinstance(v, str) else f"{v:g}" for k, v in changes.items()}
    return "/".join([role, *(f"{k}={said[k]}" for k in (_DOCS, *_FIELDS) if k in said)])


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
