"""Objects and lists in a request's JSON, made of the kinds in `kinds`.

A request is read by tables of `Field`s. Null is as good as no value; a field that no table has is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeproxy.serve.openai.kinds import (
    Kind,
    Never,
    Number,
    Schema,
    Text,
    Whole,
    said,
    shown_name,
    wrong_kind,
)
from edgeproxy.serve.protocol import RefusedError

TOKEN_ID = "^(0|[1-9][0-9]{0,8})$"
"""A token's id, as JSON's objects have it: text."""


@dataclass(frozen=True)
class Field:
    """A field of an object: its kind, what it is in a sentence, and where it comes from.

    `is_extension` tells what OpenAI's protocol does not have.
    """

    kind: Kind
    said: str = ""
    is_needed: bool = False
    is_extension: bool = False


Fields = Mapping[str, Field]


@dataclass(frozen=True)
class Listed:
    """A list of so many values of one kind."""

    kind: Kind
    most: int
    least: int = 0

    def read(self, value: Any, where: str) -> list[Any]:
        """As `Kind.read`."""
        if not isinstance(value, list):
            raise wrong_kind(where, "a list", value)
        if len(value) > self.most:
            what = f"{where} has {len(value):,} items; at most {self.most:,} are taken"
            raise RefusedError(what, where, "array_above_max_length")
        if len(value) < self.least:
            raise RefusedError(f"{where} is empty", where, "empty_array")
        return [self.kind.read(each, f"{where}[{n}]") for n, each in enumerate(value)]

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        found: Schema = {"type": "array", "items": self.kind.schema(), "maxItems": self.most}
        return found | ({"minItems": self.least} if self.least else {})


@dataclass(frozen=True)
class TextOr:
    """Text, or a list of something."""

    text: Text
    listed: Listed

    def read(self, value: Any, where: str) -> str | list[Any]:
        """As `Kind.read`."""
        if not isinstance(value, str | list):
            raise wrong_kind(where, "text or a list", value)
        kind: Kind = self.text if isinstance(value, str) else self.listed
        found: str | list[Any] = kind.read(value, where)
        return found

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"anyOf": [self.text.schema(), self.listed.schema()]}


@dataclass(frozen=True)
class TextOrTokens:
    """Text, or the ids of at most so many tokens; or a list of one of these."""

    text: Text
    most: int
    largest: int

    @property
    def _tokens(self) -> Listed:
        return Listed(Whole(0, self.largest), self.most, 1)

    def read(self, value: Any, where: str) -> str | list[int]:
        """As `Kind.read`: what is in the list, where there is one."""
        match value:
            case [str() | list(), _, *_]:
                what = f"{where} has {len(value):,} prompts; ask for each by itself"
                raise RefusedError(what, where, "array_above_max_length")
            case [str() | list() as one]:
                return self._one(one, f"{where}[0]")
        return self._one(value, where)

    def _one(self, value: Any, where: str) -> str | list[int]:
        found: str | list[int] = TextOr(self.text, self._tokens).read(value, where)
        return found

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        text, tokens = self.text.schema(), self._tokens.schema()
        lists = [
            {"type": "array", "items": one, "minItems": 1, "maxItems": 1} for one in (text, tokens)
        ]
        return {"anyOf": [text, tokens, *lists]}


@dataclass(frozen=True)
class Object:
    """An object of these fields and no others."""

    fields: Fields

    def read(self, value: Any, where: str = "") -> dict[str, Any]:
        """As `Kind.read`: the fields that are given, without those that are null."""
        if not isinstance(value, Mapping):
            raise wrong_kind(where or "the request", "an object", value)
        inside = f"{where}." if where else ""
        for name in value:
            if name not in self.fields:
                path = inside + shown_name(name)
                what = f"{path}: there is no such field here; leave it out"
                raise RefusedError(what, path, "unknown_parameter")
        found = {
            name: field.kind.read(value[name], inside + name)
            for name, field in self.fields.items()
            if value.get(name) is not None
        }
        for name, field in self.fields.items():
            if field.is_needed and name not in found:
                path = inside + name
                raise RefusedError(f"{path} is missing", path, "missing_required_parameter")
        return found

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        needed = [name for name, field in self.fields.items() if field.is_needed]
        return {
            "type": "object",
            "properties": {name: schema_of(field) for name, field in self.fields.items()},
            "additionalProperties": False,
            **({"required": needed} if needed else {}),
        }


@dataclass(frozen=True)
class Tagged:
    """An object whose field `type` says what others it has; without one it is of the `usual`."""

    objects: Mapping[str, Fields]
    usual: str | None = None

    def read(self, value: Any, where: str) -> dict[str, Any]:
        """As `Kind.read`; "type" is always among the fields."""
        if not isinstance(value, Mapping):
            raise wrong_kind(where, "an object", value)
        path = f"{where}.type"
        kind = value.get("type")
        if kind is None:
            kind = self.usual
        if kind is None:
            raise RefusedError(f"{path} is missing", path, "missing_required_parameter")
        if not isinstance(kind, str) or kind not in self.objects:
            what = f"{path} must be one of {', '.join(self.objects)}, not {said(kind)}"
            raise RefusedError(what, path, "unsupported_value")
        rest = {name: each for name, each in value.items() if name != "type"}
        return {"type": kind, **Object(self.objects[kind]).read(rest, where)}

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        found = []
        for tag, fields in self.objects.items():
            one = Object(fields).schema()
            one["properties"] = {"type": {"const": tag}, **one["properties"]}
            if tag != self.usual:
                one["required"] = ["type", *one.get("required", [])]
            found.append(one)
        return found[0] if len(found) == 1 else {"anyOf": found}


@dataclass(frozen=True)
class Biases:
    """Numbers by the ids of tokens, which are text: {"5": -100}."""

    most: int
    largest: float

    def read(self, value: Any, where: str) -> dict[int, float]:
        """As `Kind.read`."""
        if not isinstance(value, Mapping):
            raise wrong_kind(where, 'an object of numbers by tokens\' ids, as {"5": -100}', value)
        if len(value) > self.most:
            what = f"{where} names {len(value):,} tokens; at most {self.most:,} are taken"
            raise RefusedError(what, where, "object_above_max_properties")
        number = Number(-self.largest, self.largest)
        found = {}
        for name, bias in value.items():
            if not re.fullmatch(TOKEN_ID.strip("^$"), name):
                what = f"{where} has no token {said(name)}: a token is named by its id"
                raise RefusedError(what, where, "invalid_value")
            found[int(name)] = number.read(bias, f"{where}.{name}")
        return found

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {
            "type": "object",
            "propertyNames": {"pattern": TOKEN_ID},
            "additionalProperties": Number(-self.largest, self.largest).schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Notes:
    """Texts by name."""

    most: int
    name: Text
    text: Text

    def read(self, value: Any, where: str) -> dict[str, str]:
        """As `Kind.read`."""
        if not isinstance(value, Mapping):
            raise wrong_kind(where, "an object of texts", value)
        if len(value) > self.most:
            what = f"{where} has {len(value):,} texts; at most {self.most:,} are taken"
            raise RefusedError(what, where, "object_above_max_properties")
        return {
            self.name.read(name, where): self.text.read(text, f"{where}.{shown_name(name)}")
            for name, text in value.items()
        }

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {
            "type": "object",
            "propertyNames": self.name.schema(),
            "additionalProperties": self.text.schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Data:
    """An object of whatever is in it."""

    def read(self, value: Any, where: str) -> Mapping[str, Any]:
        """As `Kind.read`."""
        if not isinstance(value, Mapping):
            raise wrong_kind(where, "an object", value)
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"type": "object"}


def schema_of(field: Field) -> Schema:
    """The JSON Schema of a field: its kind's, null where it may be left out, and its sentence."""
    found = field.kind.schema()
    if not field.is_needed and found != {"type": "null"}:
        found = _or_null(found)
    why = getattr(field.kind, "why", "")
    about = " ".join(filter(None, [field.said, why and f"Refused otherwise: {why}."]))
    if isinstance(field.kind, Never):
        about = f"Refused: {why}."
    if about:
        found["description"] = about
    if field.is_extension:
        found["x-edgeproxy"] = True
    return found


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
