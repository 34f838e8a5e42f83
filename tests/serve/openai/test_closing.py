"""Schemas that are closed: what they name stays possible, and nothing else becomes so."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeproxy.serve.openai.closing import closed
from edgeproxy.serve.openai.routes import CHAT, READERS, RESPONSES
from tests.helpers.openai_events import KNOWN

NAME: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
MORE: Any = {"name": "a", "more": 1}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (NAME, {"name": "a"}, MORE),
        ({"properties": {"one": NAME}}, {"one": {"name": "a"}}, {"one": MORE}),
        ({"type": "array", "items": NAME}, [{"name": "a"}, {}], [MORE]),
        ({"prefixItems": [NAME], "items": False}, [{"name": "a"}], [MORE]),
        ({"anyOf": [NAME, {"type": "null"}]}, {"name": "a"}, MORE),
        ({**NAME, "required": ["name"]}, {"name": "a"}, MORE),
        ({"$ref": "#/$defs/name", "$defs": {"name": NAME}}, {"name": "a"}, MORE),
        ({"$ref": "#/definitions/name", "definitions": {"name": NAME}}, {"name": "a"}, MORE),
    ],
)
def test_an_object_has_only_what_is_named(schema: Any, good: Any, bad: Any) -> None:
    assert Draft202012Validator(schema).is_valid(bad)
    found = Draft202012Validator(closed(schema))
    assert found.is_valid(good)
    assert not found.is_valid(bad)


@pytest.mark.parametrize(
    "schema",
    [
        {**NAME, "additionalProperties": True},
        {**NAME, "additionalProperties": {"type": "integer"}},
        {"allOf": [NAME, {"properties": {"more": {}}}]},
        {"oneOf": [NAME, {"type": "null"}]},
        {**NAME, "anyOf": [{"required": ["more"]}]},
        {**NAME, "$ref": "#/$defs/more", "$defs": {"more": {"properties": {"more": {}}}}},
        {**NAME, "if": {"required": ["name"]}, "then": {"required": ["more"]}},
        {**NAME, "not": {"required": ["other"]}},
        {**NAME, "patternProperties": {"^m": {}}},
        {**NAME, "unevaluatedProperties": {}},
        {**NAME, "dependentSchemas": {"name": {"required": ["more"]}}},
        {**NAME, "required": ["more"]},
        {**NAME, "minProperties": 2},
        {"required": ["more"], "anyOf": [NAME]},
        {"minProperties": 2, "$ref": "#/$defs/name", "$defs": {"name": NAME}},
        {"type": "object"},
        {},
    ],
)
def test_what_is_left_open_on_purpose_stays_so(schema: Any) -> None:
    assert closed(schema) == schema
    assert Draft202012Validator(closed(schema)).is_valid(MORE)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 3},
        {"properties": {"a": 3, "b": None, "c": True}},
        {"anyOf": {"a": 1}},
        {"items": [NAME]},
        {"properties": {"properties": {"type": "string"}}},
        {"enum": [{"properties": {}}], "const": {"properties": {}}},
    ],
)
def test_a_strange_schema_is_not_made_stranger(schema: Any) -> None:
    given = repr(schema)
    found = closed(schema)
    assert repr(schema) == given
    assert {name: found[name] for name in schema} == schema
    assert found.keys() - schema.keys() <= {"additionalProperties"}


def test_the_readers_close_what_is_asked_for() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    inside = {"name": "one", "schema": NAME}
    chat = {"type": "json_schema", "json_schema": inside}
    for path, body in (
        (CHAT, {"messages": messages, "response_format": chat}),
        (RESPONSES, {"input": "Hi", "text": {"format": {"type": "json_schema", **inside}}}),
    ):
        grammar = READERS[path](body, KNOWN, "").wanted.grammar
        assert grammar is not None
        assert '"additionalProperties":false' in grammar.text
