"""The ways of combining a trio's models that `fit` tries: their names, order, and neighbours.

A setting is a `Steering`. Two of them are a model alone (see `Steering.alone`).
"""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any, get_args

from edgeproxy.decode.steering import BASE_ALONE, EXPERT_ALONE, PAPER, Policy, Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure.systems import PROXY

EXPERT, BASE = EXPERT_ALONE, BASE_ALONE

BASE_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
ALPHAS = (0.5, 1.0, 1.5, 2.0)
MASKS = (0.0, 0.01, 0.05, 0.1)

_STEPS: dict[str, tuple[float, ...]] = {
    "base_weight": BASE_WEIGHTS,
    "plausibility": MASKS,
    "alpha": ALPHAS,
}


def coarse() -> list[Steering]:
    """What is tried first: each model alone, the paper, half the base's weight, each policy."""
    policies = [policy for policy in get_args(Policy) if policy != PAPER.policy]
    found = [EXPERT, BASE, PAPER, replace(PAPER, base_weight=0.5)]
    return found + [replace(PAPER, policy=policy) for policy in policies]


def neighbours(setting: Steering) -> list[Steering]:
    """The settings one step from this one, in one field; none for a model alone."""
    if not is_proxy(setting):
        return []
    found = []
    for field, values in _STEPS.items():
        at = min(range(len(values)), key=lambda i: abs(values[i] - getattr(setting, field)))
        found += [
            _or_none(setting, {field: values[n]}) for n in (at - 1, at + 1) if 0 <= n < len(values)
        ]
    return [near for near in found if near is not None]


def _or_none(setting: Steering, change: dict[str, Any]) -> Steering | None:
    """The changed setting; None where steering refuses the combination."""
    try:
        return replace(setting, **change)
    except UsageError:
        return None


def all_names() -> list[str]:
    """The names of all settings that may be tried, besides a trio's own."""
    grid = itertools.product(BASE_WEIGHTS, MASKS, ALPHAS, get_args(Policy))
    found = [
        _or_none(PAPER, {"base_weight": w, "plausibility": beta, "alpha": alpha, "policy": policy})
        for w, beta, alpha, policy in grid
    ]
    return [name(setting) for setting in (EXPERT, BASE, *found) if setting is not None]


def is_proxy(setting: Steering) -> bool:
    """Whether more than one model has a say."""
    return setting.alone is None


def rank(setting: Steering) -> tuple[float, ...]:
    """The order of settings: cheaper before costlier, then plainer before less plain."""
    if setting.alone:
        return (0 if setting.alone == "expert" else 1,)
    changed = [field.name for field in fields(setting) if _is_changed(setting, field.name)]
    distance = abs(setting.base_weight - 1) + abs(setting.alpha - 1) + setting.plausibility
    policies = get_args(Policy)
    return (2, len(changed), policies.index(setting.policy), distance, setting.alpha)


def name(setting: Steering) -> str:
    """How files of replies name it, as `eval` does what is changed of the paper's steering."""
    if setting.alone:
        return setting.alone
    parts = [PROXY]
    for field in fields(setting):
        if _is_changed(setting, field.name):
            value = getattr(setting, field.name)
            parts.append(f"{field.name}={value if isinstance(value, str) else f'{value:g}'}")
    return "/".join(parts)


def in_words(setting: Steering) -> str:
    """How a person is told of it: "base_weight 0.5, plausibility 0.05"."""
    if setting.alone:
        return f"the {setting.alone} alone"
    if setting == PAPER:
        return "the paper's equation"
    return ", ".join(part.replace("=", " ") for part in name(setting).split("/")[1:])


def _is_changed(setting: Steering, field: str) -> bool:
    return bool(getattr(setting, field) != getattr(PAPER, field))
