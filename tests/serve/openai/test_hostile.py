"""Any JSON at all, anywhere in a request: it is read, or refused with a word, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgeproxy.serve.openai import fields, routes
from edgeproxy.serve.openai.errors import answer
from edgeproxy.serve.openai.routes import COUNTERS, READERS
from edgeproxy.serve.openai.shapes import Fields, Object
from edgeproxy.serve.protocol import RefusedError, Request
from edgeproxy.serve.wanted import Wanted
from tests.helpers.openai_events import KNOWN
from tests.serve.openai.test_document import BODIES

TABLES: dict[str, Fields] = {
    routes.CHAT: fields.CHAT,
    routes.COMPLETIONS: fields.COMPLETIONS,
    routes.RESPONSES: fields.RESPONSES,
    routes.EXPLAIN: fields.EXPLAINED,
    routes.COUNT_CHAT: fields.CHAT,
    routes.COUNT_RESPONSES: fields.RESPONSES_COUNTED,
}
READ = {**READERS, **COUNTERS}
SCHEMAS = {path: Draft202012Validator(Object(table).schema()) for path, table in TABLES.items()}

NASTY: st.SearchStrategy[Any] = st.sampled_from(
    [
        "", "\0", "\ud800", "text", "json_schema", "user", "type", "a" * 3000, "1e999", "__class__",
        0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, -(10**4000), 0.0, -0.0, 1.5, 1e308,
        float("nan"), float("inf"), float("-inf"), True, False, None, [], {}, [[]], [{}], {"": {}},
        {"type": "text"}, {"type": []}, {"type": {"type": "text"}}, {"type": "json_object"},
        {"0": 1}, {"99": 1}, {"\ud800": 1}, [None], ["a", None], [["a"]], {"role": "user"},
    ]
)  # fmt: skip
VALUE = st.recursive(
    NASTY | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "role", "content", "format", "json_schema", "schema", "name"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def spoiled(path: str) -> st.SearchStrategy[Any]:
    """Bodies that are right but for a few fields, and some that are nothing of the kind."""
    names = st.sampled_from(sorted(TABLES[path])) | st.text(max_size=5)
    changes = st.dictionaries(names, VALUE, max_size=4)
    return changes.map(lambda more: {**BODIES[path], **more}) | changes | VALUE


@pytest.mark.slow
@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_body_is_read_or_refused(path: str, data: st.DataObject) -> None:
    body = data.draw(spoiled(path))
    known = data.draw(st.sampled_from([KNOWN, replace(KNOWN, vocab=None, can_record=False)]))
    try:
        found = READ[path](body, known, "me")
    except RefusedError as error:
        answered = answer(error)
        assert answered.status in (400, 404)
        assert len(json.dumps(answered.body, ensure_ascii=False).encode()) < 3000
        return
    assert isinstance(found, Request | Wanted)
    # Whatever is read fits the document, so that nobody is told less than there is.
    assert SCHEMAS[path].is_valid(body)


@pytest.mark.parametrize("path", BODIES)
def test_each_field_takes_or_refuses_each_nasty_value_by_its_name(path: str) -> None:
    values: list[Any] = [
        "", "\ud800", "a\0", "x" * 70_000, 0, -1, 10**5000, float("nan"), True, [], {}, [1], [{}],
        {"a": 1}, {"\ud800": "\ud800"}, {"type": "x"}, [[[]]],
    ]  # fmt: skip
    for name in TABLES[path]:
        for value in values:
            param = refused(path, {**BODIES[path], name: value})
            # Where fields do not go together either may be named.
            assert param is None or param.startswith(name) or param in BODIES[path]


def refused(path: str, body: Any) -> str | None:
    """The field that an error names; None where there is none."""
    try:
        READ[path](body, KNOWN, "me")
    except RefusedError as error:
        return str(error.param)
    return None
