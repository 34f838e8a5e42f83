"""Models, counts, routes and the OpenAPI document, which the readers keep to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai.types import Model
from openai.types.responses import InputTokenCountResponse

from edgeproxy.prompts.formats import Message
from edgeproxy.serve.openai import models, routes
from edgeproxy.serve.openai.counting import counted, read_chat_count, read_response_count
from edgeproxy.serve.openai.document import document
from edgeproxy.serve.openai.routes import COUNTERS, READERS
from edgeproxy.serve.page.about import about
from edgeproxy.serve.protocol import RefusedError
from tests.helpers.openai_events import KNOWN, NOW, plain_steps, steps, whole
from tests.helpers.told_sessions import RECIPE

DOCUMENT = document("1.2.3")
BODIES: dict[str, dict[str, Any]] = {
    routes.CHAT: {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True},
    routes.COMPLETIONS: {"prompt": "Hi", "logprobs": 1},
    routes.RESPONSES: {"input": "Hi"},
    routes.EXPLAIN: {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    routes.COUNT_CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    routes.COUNT_RESPONSES: {"input": [{"role": "user", "content": "Hi"}]},
}


def model(name: str, answers: str, is_loaded: bool = True) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": NOW,
        "owned_by": "edgeproxy",
        "context_length": 1024,
        "edgeproxy": {
            "answers": answers,
            "most_tokens": 512,
            "memory_bytes": 9_000_000,
            "has_documents": True,
            "is_loaded": is_loaded,
        },
    }


MODELS = [
    model("factbook", "trio"),
    model("factbook:base", "base"),
    model("factbook:expert", "expert"),
    model("factbook:anti-expert", "anti_expert"),
]


def test_models() -> None:
    listed = models.listed(KNOWN, NOW, 9_000_000)
    assert listed == {"object": "list", "data": MODELS}
    for each in listed["data"]:
        Model.model_validate(each, strict=True)
        assert models.one(each["id"], KNOWN, NOW, 9_000_000) == each


def test_a_trio_of_which_one_model_was_loaded() -> None:
    known = replace(KNOWN, roles=(), vocab=None)
    assert models.listed(known, NOW, 9_000_000)["data"] == [model("factbook", "trio", False)]
    with pytest.raises(RefusedError) as caught:
        models.one("factbook:base", known, NOW)
    assert caught.value.status == 404


@pytest.mark.parametrize("name", ["", "factbook:tuned", "../factbook", "\ud800", "x" * 10_000])
def test_a_model_that_there_is_not(name: str) -> None:
    with pytest.raises(RefusedError, match="there is no model") as caught:
        models.one(name, KNOWN, NOW)
    assert caught.value.status == 404
    assert len(str(caught.value).encode()) < 500


def test_counting() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": "factbook:base"}
    wanted = read_chat_count(body, KNOWN, "me")
    assert (wanted.messages, wanted.answers) == ((Message("user", "Hi"),), "base")
    wanted = read_response_count({"input": "Hi", "instructions": "Be brief."}, KNOWN, "me")
    assert wanted.messages == (Message("system", "Be brief."), Message("user", "Hi"))
    with pytest.raises(RefusedError, match="personality"):
        read_response_count({"input": "Hi", "personality": "friendly"}, KNOWN, "me")


def test_a_count() -> None:
    assert counted(12) == {"object": "response.input_tokens", "input_tokens": 12}
    InputTokenCountResponse.model_validate(counted(12), strict=True)


def test_the_document_has_every_route() -> None:
    methods = {path: set(found) for path, found in DOCUMENT["paths"].items()}
    posts = {*READERS, *COUNTERS, routes.EMBEDDINGS, routes.CANCEL}
    posts |= {routes.TOKENIZE, routes.DETOKENIZE}
    gets = {routes.MODELS, routes.MODEL, routes.HEALTH, routes.METRICS, routes.OPENAPI}
    gets |= {routes.TOKENIZER, routes.ABOUT}
    expected = {path: {"post" if path in posts else "get"} for path in posts | gets}
    kept = {routes.SESSIONS: {"get", "post"}, routes.SESSION: {"get", "delete"}}
    assert methods == expected | kept
    assert DOCUMENT["info"]["version"] == "1.2.3"
    ids = [one["operationId"] for found in DOCUMENT["paths"].values() for one in found.values()]
    assert len(set(ids)) == len(ids)


def test_the_document_names_the_models_that_there_are() -> None:
    named = document("1.2.3", ["factbook", "factbook:base"])
    without = {"CancelRequest", "SaveSessionRequest"}
    for name, schema in named["components"]["schemas"].items():
        if name.endswith("Request"):
            Draft202012Validator.check_schema(schema)
            assert ("model" in schema["properties"]) is (name not in without)
        if name.endswith("Request") and name not in without:
            model = schema["properties"]["model"]
            assert model["enum"] == ["factbook", "factbook:base", None]
            assert model["description"]
    (parameter,) = named["paths"][routes.MODEL]["get"]["parameters"]
    assert parameter["schema"] == {"enum": ["factbook", "factbook:base"]}


def test_the_document_says_what_needs_no_key() -> None:
    operations = {path: one for path, found in DOCUMENT["paths"].items() for one in found.values()}
    open_ones = {path for path, one in operations.items() if one.get("security") == []}
    assert open_ones == {routes.HEALTH}
    assert {path for path, one in operations.items() if "401" not in one["responses"]} == open_ones


def inside(value: Any) -> Iterator[Any]:
    yield value
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from inside(each)


def test_the_document_is_whole() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    refs = {each["$ref"] for each in inside(DOCUMENT) if isinstance(each, dict) and "$ref" in each}
    assert refs == {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    json.dumps(DOCUMENT, allow_nan=False)


def validator(path: str, of: str) -> Draft202012Validator:
    post = DOCUMENT["paths"][path]["post"]
    content = post["requestBody"] if of == "request" else post["responses"]["200"]
    schema = content["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize("path", BODIES)
def test_the_documents_examples_are_read(path: str) -> None:
    body = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    validator(path, "request").validate(body["example"])
    reads = READERS.get(path) or COUNTERS[path]
    reads(body["example"], KNOWN, "")


@pytest.mark.parametrize("path", BODIES)
def test_a_body_fits_the_document(path: str) -> None:
    found = validator(path, "request")
    assert found.is_valid(BODIES[path])
    assert found.is_valid(BODIES[path] | {"model": None, "temperature": 1})
    assert not found.is_valid(BODIES[path] | {"temperature": 3})
    assert not found.is_valid(BODIES[path] | {"tools": [1]})
    assert not found.is_valid(BODIES[path] | {"unknown": 1})
    assert not found.is_valid({})


def test_what_is_cancelled_and_kept_fits_the_document() -> None:
    cancel, save = (validator(path, "request") for path in (routes.CANCEL, routes.SESSIONS))
    assert cancel.is_valid({"id": "chatcmpl-1"})
    assert not cancel.is_valid({"id": ""})
    message = {"role": "assistant", "text": "Yes.", "settings": {"alpha": 1}, "stats": None}
    assert save.is_valid({"id": "k7x2m", "parent": 1, "messages": [message]})
    for bad in ({"id": "../x"}, {"parent": 0}, {"messages": [{**message, "role": "tool"}]}):
        assert not save.is_valid({"messages": [message], **bad})


def test_what_tokens_are_asked_for_fits_the_document() -> None:
    cut, joined = (validator(path, "request") for path in (routes.TOKENIZE, routes.DETOKENIZE))
    assert cut.is_valid({"prompt": "Hi", "add_special_tokens": False, "model": "factbook"})
    assert joined.is_valid({"tokens": [1, 2]})
    assert not cut.is_valid({"prompt": ["Hi"]})
    assert not joined.is_valid({"tokens": [-1]})


TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
SCHEMA = {"name": "one", "schema": {"type": "object"}, "strict": True}
SHARED: dict[str, Any] = {
    "model": "factbook",
    "logit_bias": {"0": 1, "3": -100},
    "seed": -(2**63),
    "temperature": 1,
    "top_k": 0,
    "alpha": -1.5,
    "docs_to": "all",
    "stream": True,
    "user": "me",
}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (
            routes.CHAT,
            {
                "messages": [
                    *TALK,
                    {"role": "user", "content": [{"type": "text", "text": "a"}] * 2},
                ],
                "stop": ["a", "b"],
                "stream_options": {"include_usage": True, "include_obfuscation": False},
                "response_format": {"type": "json_schema", "json_schema": SCHEMA},
                "metadata": {"a": "b", "c": "d"},
                "logprobs": True,
                "top_logprobs": 20,
            },
        ),
        (routes.COMPLETIONS, {"prompt": ["Hi"], "stop": ["a", "b"], "logprobs": 20}),
        (routes.COMPLETIONS, {"prompt": [1, 2], "echo": True, "logprobs": 1, "max_tokens": 0}),
        (routes.COMPLETIONS, {"prompt": [[1, 2]], "echo": False}),
        (
            routes.RESPONSES,
            {
                "input": [*TALK, {"type": "message", "role": "user", "content": "Hi"}],
                "text": {"format": {"type": "json_schema", **SCHEMA}, "verbosity": "medium"},
                "include": ["message.output_text.logprobs"],
                "reasoning": {"effort": "none"},
                "metadata": {"a": "b", "c": "d"},
            },
        ),
    ],
)
def test_what_is_read_fits_the_document(path: str, more: dict[str, Any]) -> None:
    body = {**SHARED, **more}
    READERS[path](body, KNOWN, "")
    validator(path, "request").validate(body)


@pytest.mark.parametrize("path", [routes.CHAT, routes.COMPLETIONS, routes.RESPONSES])
def test_an_answer_fits_the_document(path: str) -> None:
    for events in (steps(), plain_steps("length")):
        answer = whole(READERS[path](BODIES[path], KNOWN, ""), events)
        validator(path, "answer").validate(answer)


def test_other_answers_fit_the_document() -> None:
    validator(routes.COUNT_CHAT, "answer").validate(counted(3))
    schemas = {"components": DOCUMENT["components"]}
    for name, value in (
        ("Models", models.listed(KNOWN, NOW)),
        ("Model", models.one("factbook", KNOWN, NOW)),
    ):
        reference = {"$ref": f"#/components/schemas/{name}"}
        Draft202012Validator(reference | schemas).validate(value)
    shape = DOCUMENT["paths"][routes.ABOUT]["get"]["responses"]["200"]["content"]
    told = about(RECIPE)
    assert set(told) == set(shape["application/json"]["schema"]["properties"])
    Draft202012Validator(shape["application/json"]["schema"]).validate(told)
