"""The ways of combining a trio's models that `fit` tries: their names, order, and neighbours.

Two of them are a model alone (see `Steering.alone`). Where there are documents, a setting also says
which models read them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from edgeproxy.decode.steering import BASE_ALONE, EXPERT_ALONE, PAPER, Alone, Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure.systems import PROXY
from edgeproxy.trios.manifest import Readers


@dataclass(frozen=True)
class Setting:
    """How the models are combined, and which of them read documents."""

    steering: Steering
    readers: Readers = "nobody"

    @property
    def alone(self) -> Alone | None:
        """The model that alone has a say; None for a proxy."""
        return self.steering.alone


EXPERT, BASE, BY_PAPER = Setting(EXPERT_ALONE), Setting(BASE_ALONE), Setting(PAPER)
PLANNED = (EXPERT_ALONE, BASE_ALONE, PAPER)
"""What everybody would compare; whoever reads, each is one comparison and no search."""

BASE_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
ALPHAS = (0.5, 1.0, 1.5, 2.0)
MASKS = (0.0, 0.01, 0.05, 0.1)

_STEPS: dict[str, tuple[float, ...]] = {
    "base_weight": BASE_WEIGHTS,
    "plausibility": MASKS,
    "alpha": ALPHAS,
}
_OTHER = [replace(PAPER, base_weight=0.5), replace(PAPER, alpha=0.5)]
_COST: dict[Readers, float] = {"nobody": 0.0, "expert": 0.2, "base": 0.4, "all": 0.6}
"""What reading adds to a setting's place in the order of cost: a large model reads slowly."""


def coarse(*, with_documents: bool = False) -> list[Setting]:
    """What is tried first: each model alone, the paper, and half of either weight.

    With documents: each model alone and the paper, for all who may read; how to steer is searched
    for once it is known who reads best (see `neighbours`).
    """
    if not with_documents:
        return [EXPERT, BASE, BY_PAPER, *map(Setting, _OTHER)]
    return [
        EXPERT,
        Setting(EXPERT_ALONE, "expert"),
        BASE,
        Setting(BASE_ALONE, "base"),
        *(Setting(PAPER, readers) for readers in _COST),
    ]


def neighbours(setting: Setting, *, with_documents: bool = False) -> list[Setting]:
    """The settings one step from this one, in one field; none for a model alone.

    With documents also those of `coarse` that were not tried yet, with the same readers.
    """
    if not is_proxy(setting):
        return []
    found: list[Steering | None] = []
    for field, values in _STEPS.items():
        now = getattr(setting.steering, field)
        at = min(range(len(values)), key=lambda i: abs(values[i] - now))
        found += [
            _or_none(setting.steering, {field: values[n]})
            for n in (at - 1, at + 1)
            if 0 <= n < len(values)
        ]
    if with_documents and setting.steering == PAPER:
        found += _OTHER
    return [Setting(near, setting.readers) for near in _given(found)]


def _or_none(steering: Steering, change: dict[str, Any]) -> Steering | None:
    """The changed steering; None where it refuses the combination."""
    try:
        return replace(steering, **change)
    except UsageError:
        return None


def _given(found: Iterable[Steering | None]) -> list[Steering]:
    return list(dict.fromkeys(steering for steering in found if steering is not None))


def all_names(*, with_documents: bool = False) -> list[str]:
    """The names of all settings that may be tried, besides a trio's own."""
    grid = itertools.product(BASE_WEIGHTS, MASKS, ALPHAS)
    steerings = [
        Steering(alpha=alpha, base_weight=weight, plausibility=beta) for weight, beta, alpha in grid
    ]
    first = coarse(with_documents=with_documents)
    readers: tuple[Readers, ...] = tuple(_COST) if with_documents else ("nobody",)
    proxies = [Setting(steering, who) for steering in steerings for who in readers]
    return [name(setting) for setting in dict.fromkeys([*first, *proxies])]


def is_proxy(setting: Setting) -> bool:
    """Whether more than one model has a say."""
    return setting.alone is None


def rank(setting: Setting) -> tuple[float, ...]:
    """The order of settings: cheaper before costlier, then plainer before less plain."""
    reading, steering = _COST[setting.readers], setting.steering
    if setting.alone:
        return ((0 if setting.alone == "expert" else 1) + reading,)
    changed = [field.name for field in fields(steering) if _is_changed(steering, field.name)]
    distance = abs(steering.base_weight - 1) + abs(steering.alpha - 1) + steering.plausibility
    return (2 + reading, len(changed), distance, steering.alpha)


def name(setting: Setting) -> str:
    """How files of replies name it, as `eval` does what is changed of the paper's steering."""
    parts = [setting.alone or PROXY]
    if setting.readers != "nobody":
        parts.append(f"docs={setting.readers}")
    if setting.alone is None:
        parts += _changes(setting.steering)
    return "/".join(parts)


def _changes(steering: Steering) -> list[str]:
    """What a steering changes of the paper's: NAME=VALUE of each."""
    return [
        f"{field.name}={getattr(steering, field.name):g}"
        for field in fields(steering)
        if _is_changed(steering, field.name)
    ]


def in_words(setting: Setting) -> str:
    """How a person is told of it: "base_weight 0.5, documents to the base"."""
    if setting.alone:
        said = f"the {setting.alone} alone"
    elif setting.steering == PAPER:
        said = "the paper's equation"
    else:
        said = ", ".join(part.replace("=", " ") for part in _changes(setting.steering))
    return said if setting.readers == "nobody" else f"{said}, documents to {_WHO[setting.readers]}"


_WHO: dict[Readers, str] = {"base": "the base", "expert": "the expert", "all": "all three"}


def _is_changed(steering: Steering, field: str) -> bool:
    return bool(getattr(steering, field) != getattr(PAPER, field))
