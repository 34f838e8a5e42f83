"""A JSON Schema whose objects have no other properties than those that it names.

Clients send schemas of objects without `additionalProperties` and expect what they name: a model
that may add properties of its own goes on and on. OpenAI's protocol asks for `false` to be written
there where it is strict, and llama.cpp's server takes it as written. What keeps to the closed
schema keeps to the given one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPEN = frozenset(
    {
        *("$dynamicRef", "allOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"),
        *("patternProperties", "unevaluatedProperties"),
    }
)
"""Where one of these is used, one part of a schema may name what another part has left open."""

_ELSEWHERE, _HERE = frozenset({"anyOf", "$ref"}), frozenset({"minProperties", "required"})
"""What says more of an object elsewhere, and what may ask here for what is said there."""

_LISTS = ("anyOf", "prefixItems")
_BY_NAME = ("properties", "$defs", "definitions")
_ONE = ("items",)


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, closed where that takes nothing away that it names; otherwise as it is."""
    return schema if _leaves_open(schema) else _close(schema)


def _leaves_open(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if not _OPEN.isdisjoint(schema):
        return True
    if not _ELSEWHERE.isdisjoint(schema) and not {"properties", *_HERE}.isdisjoint(schema):
        return True
    if "properties" in schema and _asks_for_more(schema):
        return True
    return any(_leaves_open(each) for each in _parts(schema))


def _asks_for_more(schema: Mapping[str, Any]) -> bool:
    """Whether an object must have what it does not name."""
    named, needed = schema["properties"], schema.get("required", [])
    if "minProperties" in schema or not isinstance(named, Mapping) or not isinstance(needed, list):
        return True
    return any(name not in named for name in needed if isinstance(name, str))


def _parts(schema: Mapping[str, Any]) -> list[Any]:
    """The schemas that stand directly in a schema."""
    found = [schema[name] for name in _ONE if name in schema]
    for name in _LISTS:
        each = schema.get(name)
        found += each if isinstance(each, list) else []
    for name in _BY_NAME:
        named = schema.get(name)
        found += named.values() if isinstance(named, Mapping) else []
    return found


def _close(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(schema)
    for name in _ONE:
        if name in found:
            found[name] = _closed(found[name])
    for name in _LISTS:
        if isinstance(found.get(name), list):
            found[name] = [_closed(each) for each in found[name]]
    for name in _BY_NAME:
        if isinstance(found.get(name), Mapping):
            found[name] = {key: _closed(each) for key, each in found[name].items()}
    if isinstance(found.get("properties"), Mapping):
        found.setdefault("additionalProperties", False)
    return found


def _closed(schema: Any) -> Any:
    """What stands where a schema may: true and false are schemas too."""
    return _close(schema) if isinstance(schema, Mapping) else schema
