"""Values of this package <-> what JSON can say of them.

Only the types below are made from what comes over the pipe, and each of them checks its own fields
where it has to: nothing is unpickled.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any

TYPES: dict[str, tuple[str, ...]] = {
    "edgeproxy.align.relation": ("Match",),
    "edgeproxy.align.transcript": ("Cost",),
    "edgeproxy.core.vocab": ("Vocab",),
    "edgeproxy.decode.compared": ("Compared", "Edge", "Known"),
    "edgeproxy.decode.drafted": ("Drafted",),
    "edgeproxy.decode.pieces": ("Piece",),
    "edgeproxy.decode.sample": ("Sampling",),
    "edgeproxy.decode.scoring": ("Likely", "TokenScore"),
    "edgeproxy.decode.steering": ("Steering",),
    "edgeproxy.documents.left_out": ("Reliance",),
    "edgeproxy.documents.passage": ("Passage",),
    "edgeproxy.documents.search": ("Found",),
    "edgeproxy.grammar.grammar": ("Grammar",),
    "edgeproxy.prompts.messages": ("Message",),
    "edgeproxy.remote.endpoint": ("Endpoint",),
    "edgeproxy.remote.spent": ("Spent",),
    "edgeproxy.session.memory_plan": ("Estimate",),
    "edgeproxy.session.prompt_cache.prefix": ("Cached",),
    "edgeproxy.session.reading": ("Read",),
    "edgeproxy.session.turn": (
        *("Asked", "Changed", "Opinion", "Scored", "Stats", "Step", "Usage"),
    ),
    "edgeproxy.trios.manifest.fitted": ("Fitted", "Result"),
    "edgeproxy.trios.manifest.recipe": (
        *("Documents", "Footprint", "Lora", "Recipe", "Role", "Source"),
    ),
    "edgeproxy.worker.facts": ("Facts", "SoloFacts"),
}
"""By module, the dataclasses and named tuples that may be sent."""

LEFT_OUT = {"Match": {"index"}, "Vocab": {"tokenize"}}
"""Fields that are not sent: the host has no use for them."""

_MODULES = {name: module for module, names in TYPES.items() for name in names}
_NAME, _VALUE = "#", "v"


class NoValueError(Exception):
    """A value cannot be sent, or what came stands for none."""


def encoded(value: Any) -> Any:
    """`value` as JSON can say it. Raises `NoValueError` for what may not be sent."""
    if value is None or isinstance(value, str | bool):
        return value
    if (name := type(value).__name__) in _MODULES and type(value).__module__ == _MODULES[name]:
        return {_NAME: name, _VALUE: [encoded(getattr(value, each)) for each in _fields(name)]}
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _NAME not in value:
            return {key: encoded(each) for key, each in value.items()}
        return {_NAME: "dict", _VALUE: [[encoded(k), encoded(v)] for k, v in value.items()]}
    if isinstance(value, bytes):
        return {_NAME: "bytes", _VALUE: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Path):
        return {_NAME: "Path", _VALUE: str(value)}
    if isinstance(value, frozenset):
        return {_NAME: "frozenset", _VALUE: [encoded(each) for each in value]}
    if isinstance(value, tuple):
        return [encoded(each) for each in value]
    if isinstance(value, Sequence):
        return {_NAME: "list", _VALUE: [encoded(each) for each in value]}
    raise NoValueError(f"{type(value).__name__} cannot be sent to a worker: {value!r}")


def decoded(value: Any) -> Any:
    """What `encoded` was given; arrays are tuples. Raises `NoValueError`, and as types do."""
    if isinstance(value, list):
        return tuple(map(decoded, value))
    if not isinstance(value, dict):
        return value
    if _NAME not in value:
        return {key: decoded(each) for key, each in value.items()}
    name, inner = value[_NAME], value.get(_VALUE)
    if name == "bytes" and isinstance(inner, str):
        return base64.b64decode(inner)
    if name == "Path" and isinstance(inner, str):
        return Path(inner)
    if isinstance(inner, list):
        parts = list(map(decoded, inner))
        if name == "list":
            return parts
        if name == "frozenset":
            return frozenset(parts)
        if name == "dict":
            return dict(parts)
        if name in _MODULES and len(parts) == len(_fields(name)):
            return _type(name)(**dict(zip(_fields(name), parts, strict=True)))
    raise NoValueError(f"what came is no {name!r}")


@cache
def _type(name: str) -> Any:
    return getattr(import_module(_MODULES[name]), name)


@cache
def _fields(name: str) -> tuple[str, ...]:
    kind = _type(name)
    named = kind._fields if hasattr(kind, "_fields") else [f.name for f in dataclasses.fields(kind)]
    return tuple(each for each in named if each not in LEFT_OUT.get(name, ()))
