"""What requests ask for, field by field, and what is refused, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from openai.types import completion_create_params as completion
from openai.types.chat import completion_create_params as chat
from openai.types.responses import input_token_count_params as response_count
from openai.types.responses import response_create_params as response

from edgeproxy.decode.sample import Sampling
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.openai import fields
from edgeproxy.serve.openai.chat import read_chat, read_explain
from edgeproxy.serve.openai.completions import read_completion
from edgeproxy.serve.openai.responses import read_response
from edgeproxy.serve.openai.shapes import Fields
from edgeproxy.serve.protocol import RefusedError
from edgeproxy.serve.wanted import Wanted
from tests.helpers.openai_events import KNOWN, VOCAB

QUESTION = Message("user", "Hi")
MESSAGES = [{"role": "user", "content": "Hi"}]


def of_chat(**more: Any) -> Wanted:
    return read_chat({"messages": MESSAGES, **more}, KNOWN, "me").wanted


def of_completion(**more: Any) -> Wanted:
    return read_completion({"prompt": "Hi", **more}, KNOWN, "me").wanted


def of_response(**more: Any) -> Wanted:
    return read_response({"input": "Hi", **more}, KNOWN, "me").wanted


ALL = [of_chat, of_completion, of_response]


def test_what_asks_for_nothing_special_leaves_all_to_the_engine() -> None:
    assert of_chat() == of_response() == Wanted((QUESTION,), who="me")
    assert of_completion() == Wanted((QUESTION,), is_raw=True, max_tokens=16, who="me")


@pytest.mark.parametrize(
    ("module", "table"),
    [
        (chat.CompletionCreateParamsBase, fields.CHAT),
        (completion.CompletionCreateParamsBase, fields.COMPLETIONS),
        (response.ResponseCreateParamsBase, fields.RESPONSES),
        (response_count.InputTokenCountParams, fields.RESPONSES_COUNTED),
    ],
)
def test_each_field_of_the_real_client_is_decided_on(module: Any, table: Fields) -> None:
    assert set(module.__annotations__) <= set(table)


@pytest.mark.parametrize(
    ("messages", "read"),
    [
        ([{"role": "developer", "content": "Be brief."}, *MESSAGES], "system"),
        ([{"role": "system", "content": "Be brief."}, *MESSAGES], "system"),
        (
            [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": "Hi", "type": "text", "tool_calls": None},
            ],
            "system",
        ),
    ],
)
def test_messages(messages: Any, read: Any) -> None:
    assert of_chat(messages=messages).messages == (Message(read, "Be brief."), QUESTION)


def test_parts_are_joined_by_line_breaks() -> None:
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert of_chat(messages=[{"role": "user", "content": parts}]).messages[0].content == (
        "One.\nTwo."
    )


def test_what_the_server_said_can_be_sent_again() -> None:
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "Yes?",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert of_chat(messages=[*MESSAGES, said, *MESSAGES]).messages == (
        QUESTION,
        Message("assistant", "Yes?"),
        QUESTION,
    )
    part = {"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": [{"token": ""}]}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    asked = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, item, *MESSAGES]
    assert of_response(input=asked, instructions="Be brief.").messages == (
        Message("system", "Be brief."),
        QUESTION,
        Message("assistant", "Yes?"),
        QUESTION,
    )


@pytest.mark.parametrize("prompt", ["Hi", ["Hi"]])
def test_a_prompt(prompt: Any) -> None:
    assert of_completion(prompt=prompt).messages == (QUESTION,)


@pytest.mark.parametrize(
    ("model", "answers"),
    [
        (None, "trio"),
        ("factbook", "trio"),
        ("factbook:base", "base"),
        ("factbook:expert", "expert"),
        ("factbook:anti-expert", "anti_expert"),
    ],
)
@pytest.mark.parametrize("of", ALL)
def test_models(of: Any, model: str | None, answers: str) -> None:
    assert of(model=model).answers == answers


@pytest.mark.parametrize("of", ALL)
def test_a_model_that_there_is_not(of: Any) -> None:
    with pytest.raises(RefusedError, match="factbook, factbook:base, ") as caught:
        of(model="gpt-4o")
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        404,
        "model_not_found",
        "model",
    )


DRAWN = Sampling(1.0, 0, 1.0, 0.0)
"""As users of OpenAI's protocol expect: the distribution as it is."""


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        ({}, None),
        ({"temperature": None}, None),
        ({"temperature": 1}, DRAWN),
        ({"temperature": 0.7, "top_p": 0.9}, replace(DRAWN, temperature=0.7, top_p=0.9)),
        (
            {"temperature": 1, "top_k": 40, "min_p": 0.1},
            replace(DRAWN, top_k=40, min_p=0.1),
        ),
        ({"temperature": 1, "seed": 7}, replace(DRAWN, seed=7)),
        ({"temperature": 1, "seed": -1}, replace(DRAWN, seed=2**32 - 2)),
        ({"temperature": 1, "seed": 2**63 - 1}, replace(DRAWN, seed=(2**63 - 1) % (2**32 - 1))),
        (
            {"temperature": 0, "frequency_penalty": 1, "presence_penalty": -0.5},
            replace(
                DRAWN,
                temperature=0.0,
                frequency_penalty=1.0,
                presence_penalty=-0.5,
                repeat_last_n=1024,
            ),
        ),
        (
            {"temperature": 0, "frequency_penalty": 1, "repeat_last_n": 9},
            replace(DRAWN, temperature=0.0, frequency_penalty=1.0, repeat_last_n=9),
        ),
        (
            {"temperature": 1, "logit_bias": {"3": -100, "0": 1.5}},
            replace(DRAWN, logit_bias={3: -100.0, 0: 1.5}),
        ),
        (
            {"temperature": 1, "repeat_penalty": 1.1, "dry_multiplier": 0.8, "dry_base": 2},
            replace(DRAWN, repeat_penalty=1.1, dry_multiplier=0.8, dry_base=2.0),
        ),
    ],
)
@pytest.mark.parametrize("of", ALL)
def test_sampling(of: Any, given: dict[str, Any], sampling: Sampling | None) -> None:
    assert of(**given).sampling == sampling


def test_without_a_temperature_the_manifests_counts() -> None:
    manifest = Sampling(temperature=0.6)
    known = replace(KNOWN, sampling=manifest)
    wanted = read_chat({"messages": MESSAGES, "seed": 3}, known, "").wanted
    assert wanted.sampling == replace(manifest, seed=3)


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5),
        ({"max_tokens": 100_000}, 512),
    ],
)
def test_max_tokens(given: dict[str, Any], most: int | None) -> None:
    assert of_chat(**given).max_tokens == most


def test_max_tokens_elsewhere() -> None:
    assert of_completion(max_tokens=9).max_tokens == 9
    assert of_response(max_output_tokens=9).max_tokens == 9


@pytest.mark.parametrize(
    ("stop", "stops"), [(None, ()), ("x", ("x",)), ([], ()), (["x", "\n"], ("x", "\n"))]
)
def test_stops(stop: Any, stops: tuple[str, ...]) -> None:
    assert of_chat(stop=stop).stops == of_completion(stop=stop).stops == stops


@pytest.mark.parametrize("of", ALL)
def test_steering(of: Any) -> None:
    wanted = of(alpha=0.5, base_weight=0.5, plausibility=0.1, docs_to="all")
    assert (wanted.alpha, wanted.base_weight, wanted.plausibility) == (0.5, 0.5, 0.1)
    assert wanted.docs_to == "all"


@pytest.mark.parametrize(
    ("wanted", "record"),
    [
        (of_chat(logprobs=False), 0),
        (of_chat(logprobs=True), 1),
        (of_chat(logprobs=True, top_logprobs=5), 5),
        (of_chat(logprobs=True, model="factbook:base"), 0),
        (of_chat(logprobs=True, base_weight=0), 0),
        (of_chat(explain=True), 10),
        (of_chat(explain=True, logprobs=True, top_logprobs=20), 20),
        (of_completion(logprobs=0), 1),
        (of_completion(logprobs=3), 3),
        (of_response(include=["message.output_text.logprobs"]), 1),
        (of_response(top_logprobs=2), 2),
        (read_explain({"messages": MESSAGES}, KNOWN, "").wanted, 10),
    ],
)
def test_what_is_recorded(wanted: Wanted, record: int) -> None:
    assert wanted.record == record


@pytest.mark.parametrize(
    ("more", "echo", "record"),
    [
        ({}, None, 0),
        ({"echo": False, "logprobs": 2}, None, 2),
        ({"echo": True}, None, 0),
        ({"echo": True, "max_tokens": 0}, 0, 0),
        ({"echo": True, "logprobs": 0}, 0, 0),
        ({"echo": True, "logprobs": 5, "max_tokens": 1}, 5, 0),
        ({"echo": True, "logprobs": 5, "model": "factbook:base"}, 5, 0),
        ({"echo": True, "base_weight": 0}, None, 0),
    ],
)
def test_what_is_told_of_a_prompt(more: dict[str, Any], echo: int | None, record: int) -> None:
    wanted = of_completion(**more)
    assert (wanted.echo, wanted.record) == (echo, record)


@pytest.mark.parametrize("prompt", [[0, 1, 4], [[0, 1, 4]]])
def test_ids_in_place_of_a_text(prompt: Any) -> None:
    wanted = of_completion(prompt=prompt)
    assert (wanted.messages, wanted.tokens, wanted.is_raw) == ((), (0, 1, 4), True)
    assert of_completion(prompt=["a"]) == of_completion(prompt="a")
    assert of_completion(prompt=[5, 0]).tokens == (5, 0)
    # Another model's vocabulary is known to whoever loads it.
    assert of_completion(prompt=[99], model="factbook:base").tokens == (99,)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NAMED = {"name": "one", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (of_chat(response_format={"type": "json_object"}), "response_format"),
        (
            of_chat(response_format={"type": "json_schema", "json_schema": NAMED}),
            "response_format",
        ),
        (of_chat(grammar='root ::= "a"'), "grammar"),
        (of_completion(response_format={"type": "json_object"}), "response_format"),
        (of_response(text={"format": {"type": "json_schema", **NAMED}}), "text.format"),
        (of_response(text={"format": {"type": "json_object"}}), "text.format"),
    ],
)
def test_formats(wanted: Wanted, name: str) -> None:
    assert wanted.grammar is not None
    assert wanted.grammar.name == name


def test_the_format_text_is_none() -> None:
    assert of_chat(response_format={"type": "text"}).grammar is None
    assert of_response(text={"format": {"type": "text"}}).grammar is None


@pytest.mark.parametrize(
    "given",
    [
        {"n": 1, "store": False, "user": "me", "metadata": {"a": "b"}, "service_tier": "auto"},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": []},
        {"modalities": ["text"], "reasoning_effort": "none", "verbosity": "medium"},
        {"prompt_cache_key": "x", "safety_identifier": "x", "prediction": None, "audio": None},
        dict.fromkeys(set(fields.CHAT) - {"messages"}),
    ],
)
def test_what_asks_for_nothing_special_changes_nothing(given: dict[str, Any]) -> None:
    assert of_chat(**given) == of_chat()


def test_null_is_as_good_as_nothing_in_the_other_protocols_too() -> None:
    assert of_completion(**dict.fromkeys(set(fields.COMPLETIONS) - {"prompt"})) == of_completion()
    assert of_response(**dict.fromkeys(set(fields.RESPONSES) - {"input"})) == of_response()


HUGE = 10**5000
NAN, INFINITY = float("nan"), float("inf")
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"temprature": 1}, "temprature", "unknown_parameter"),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_value"),
    ({"tool_choice": "required"}, "tool_choice", "unsupported_value"),
    ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"temperature": NAN}, "temperature", "decimal_above_max_value"),
    ({"temperature": INFINITY}, "temperature", "decimal_above_max_value"),
    ({"temperature": HUGE}, "temperature", "decimal_above_max_value"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"temperature": "1"}, "temperature", "invalid_type"),
    ({"temperature": DEEP}, "temperature", "invalid_type"),
    ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
    ({"seed": 1.0}, "seed", "invalid_type"),
    ({"seed": False}, "seed", "invalid_type"),
    ({"seed": 2**63}, "seed", "integer_above_max_value"),
    ({"seed": HUGE}, "seed", "integer_above_max_value"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"٣": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"03": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"6": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"0": 101}}, "logit_bias.0", "decimal_above_max_value"),
    ({"logit_bias": {"0": True}}, "logit_bias.0", "invalid_type"),
    ({"logit_bias": [1]}, "logit_bias", "invalid_type"),
    (
        {"logit_bias": {str(n): 1 for n in range(301)}},
        "logit_bias",
        "object_above_max_properties",
    ),
    ({"alpha": NAN}, "alpha", "decimal_above_max_value"),
    ({"alpha": 1e30}, "alpha", "decimal_above_max_value"),
    ({"alpha": 2, "base_weight": 0}, "base_weight", "invalid_value"),
    ({"alpha": 1, "model": "factbook:base"}, "alpha", ""),
    ({"plausibility": 0.1, "model": "factbook:expert"}, "plausibility", ""),
    ({"docs_to": "everybody"}, "docs_to", "invalid_value"),
    ({"docs_to": ["all"]}, "docs_to", "invalid_type"),
    ({"grammar": "root ::= ("}, "grammar", "invalid_value"),
    ({"model": 1}, "model", "invalid_type"),
    ({"model": "x" * 257}, "model", "string_above_max_length"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {}}, "stream_options", "invalid_value"),
    ({"\ud800": 1}, "\\ud800", "unknown_parameter"),
    ({"user": "\ud800"}, "user", "invalid_value"),
]
"""What all three protocols refuse, the field that the error names, and its code."""

OF_CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"n": 2}, "n", "unsupported_value"),
    ({"n": True}, "n", "unsupported_value"),
    ({"store": True}, "store", "unsupported_value"),
    ({"audio": {}}, "audio", "unsupported_parameter"),
    ({"modalities": ["text", "audio"]}, "modalities", "unsupported_value"),
    ({"prediction": {"type": "content"}}, "prediction", "unsupported_parameter"),
    ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_value"),
    ({"service_tier": "flex"}, "service_tier", "unsupported_value"),
    ({"functions": [1]}, "functions", "unsupported_value"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "invalid_value"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "integer_above_max_value"),
    ({"top_logprobs": 2}, "top_logprobs", ""),
    ({"logprobs": 1}, "logprobs", "invalid_type"),
    (
        {"logprobs": True, "top_logprobs": 2, "model": "factbook:base"},
        "top_logprobs",
        "unsupported_value",
    ),
    ({"explain": True, "model": "factbook:base"}, "model", "unsupported_value"),
    ({"explain": True, "base_weight": 0}, "base_weight", "unsupported_value"),
    ({"return_progress": True}, "return_progress", "invalid_value"),
    ({"stop": ""}, "stop", "empty_string"),
    ({"stop": ["a"] * 17}, "stop", "array_above_max_length"),
    ({"stop": ["a", 1]}, "stop[1]", "invalid_type"),
    ({"stop": "a\0b"}, "stop", "invalid_value"),
    ({"stop": "a" * 1001}, "stop", "string_above_max_length"),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    ({"response_format": "json"}, "response_format", "invalid_type"),
    ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "unsupported_value"),
    ({"response_format": {"type": ["text"]}}, "response_format.type", "unsupported_value"),
    (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
        "response_format.json_schema.name",
        "invalid_value",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 1}}}},
        "response_format",
        "invalid_value",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": DEEP}}}},
        "response_format",
        "invalid_value",
    ),
    ({"response_format": {"type": "json_object"}, "grammar": 'root ::= "a"'}, "grammar", ""),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": "Hi"}, "messages", "invalid_type"),
    ({"messages": ["Hi"]}, "messages[0]", "invalid_type"),
    ({"messages": MESSAGES * 4097}, "messages", "array_above_max_length"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
    (
        {"messages": [{"role": "user", "content": "a\ud800"}]},
        "messages[0].content",
        "invalid_value",
    ),
    ({"messages": [{"role": "user", "content": "a\0"}]}, "messages[0].content", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].type",
        "unsupported_value",
    ),
    (
        {"messages": [*MESSAGES, {"role": "user", "content": "Hi", "name": "Ann"}]},
        "messages[1].name",
        "unsupported_parameter",
    ),
    (
        {"messages": [{"role": "user", "content": "a" * (1 << 20)}] * 3},
        "messages",
        "string_above_max_length",
    ),
]

OF_COMPLETION: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ["a", "b"]}, "prompt", "array_above_max_length"),
    ({"prompt": [[1], [2]]}, "prompt", "array_above_max_length"),
    ({"prompt": ["a", 1]}, "prompt", "array_above_max_length"),
    ({"prompt": [1, "a"]}, "prompt[1]", "invalid_type"),
    ({"prompt": [True]}, "prompt[0]", "invalid_type"),
    ({"prompt": [1.0]}, "prompt[0]", "invalid_type"),
    ({"prompt": [[[1]]]}, "prompt[0][0]", "invalid_type"),
    ({"prompt": [{}]}, "prompt[0]", "invalid_type"),
    ({"prompt": [-1]}, "prompt[0]", "integer_below_min_value"),
    ({"prompt": [2**31]}, "prompt[0]", "integer_above_max_value"),
    ({"prompt": [6]}, "prompt", "invalid_value"),
    ({"prompt": [0, 5]}, "prompt", "invalid_value"),
    ({"prompt": [""]}, "prompt[0]", "empty_string"),
    ({"prompt": [[]]}, "prompt[0]", "empty_array"),
    ({"prompt": ""}, "prompt", "empty_string"),
    ({"prompt": []}, "prompt", "empty_array"),
    ({"prompt": None}, "prompt", "missing_required_parameter"),
    ({"echo": 1}, "echo", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_tokens": 0, "echo": False}, "max_tokens", "integer_below_min_value"),
    ({"echo": True, "logprobs": 1, "base_weight": 0}, "base_weight", "unsupported_value"),
    ({"suffix": "x"}, "suffix", "unsupported_value"),
    ({"best_of": 2}, "best_of", "unsupported_value"),
    ({"logprobs": True}, "logprobs", "invalid_type"),
    ({"logprobs": 21}, "logprobs", "integer_above_max_value"),
    ({"logprobs": 2, "model": "factbook:base"}, "logprobs", "unsupported_value"),
    ({"messages": MESSAGES}, "messages", "unknown_parameter"),
]

OF_RESPONSE: list[tuple[dict[str, Any], str, str]] = [
    ({"store": True}, "store", "unsupported_value"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
    ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
    ({"background": True}, "background", "unsupported_value"),
    ({"truncation": "auto"}, "truncation", "unsupported_value"),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort", "unsupported_value"),
    ({"include": ["reasoning.encrypted_content"]}, "include[0]", "invalid_value"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "missing_required_"),
    ({"text": {"format": {"type": "json_schema", "schema": {"type": 1}}}}, "text.format", "inv"),
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": ""}, "input", "empty_string"),
    ({"input": [{"type": "function_call_output"}]}, "input[0].type", "unsupported_value"),
    ({"input": [{"type": 0, "role": "user", "content": "Hi"}]}, "input[0].type", "unsupported_"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0].type",
        "unsupported_value",
    ),
    ({"input": " "}, "input", "invalid_value"),
    ({"instructions": 1}, "instructions", "invalid_type"),
    ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
]


@pytest.mark.parametrize(
    ("of", "given", "param", "code"),
    [
        *((of, *case) for of in ALL for case in REFUSED),
        *((of_chat, *case) for case in OF_CHAT),
        *((of_completion, *case) for case in OF_COMPLETION),
        *((of_response, *case) for case in OF_RESPONSE),
    ],
)
def test_what_is_refused_is_named(of: Any, given: dict[str, Any], param: str, code: str) -> None:
    if of is of_completion and not set(given) <= set(fields.COMPLETIONS):
        code = "unknown_parameter"
    with pytest.raises(RefusedError) as caught:
        of(**given)
    error = caught.value
    assert error.status == 400
    assert error.param == param
    assert (error.code or "").startswith(code)
    assert param in str(error) or error.code == "invalid_value"
    assert len(str(error)) < 500
    str(error).encode()


def test_documents_that_there_are_not_are_not_read() -> None:
    known = replace(KNOWN, has_documents=False)
    body = {"messages": MESSAGES, "docs_to": "nobody"}
    assert read_chat(body, known, "").wanted.docs_to == "nobody"
    with pytest.raises(RefusedError, match="without documents"):
        read_chat(body | {"docs_to": "base"}, known, "")


def test_tokens_are_not_checked_before_the_models_are_loaded() -> None:
    body = {"messages": MESSAGES, "logit_bias": {"999": 1}}
    assert read_chat(body, replace(KNOWN, vocab=None), "").wanted.sampling is not None
    with pytest.raises(RefusedError, match=f"there are {len(VOCAB)}"):
        read_chat(body, KNOWN, "")


@pytest.mark.parametrize("role", ["base", "expert", "anti-expert"])
def test_tokens_of_one_model_alone_are_its_own(role: str) -> None:
    body = {"messages": MESSAGES, "model": f"factbook:{role}", "logit_bias": {"31000": 1}}
    sampling = read_chat(body, KNOWN, "").wanted.sampling
    assert sampling is not None
    assert sampling.logit_bias == {31000: 1.0}


def test_what_cannot_be_recorded_is_refused_and_the_rest_is_not() -> None:
    known = replace(KNOWN, can_record=False)
    body = {"messages": MESSAGES, "logprobs": True}
    assert read_chat(body, known, "").wanted.record == 0
    with pytest.raises(RefusedError) as caught:
        read_chat(body | {"top_logprobs": 1}, known, "")
    assert caught.value.param == "top_logprobs"
    with pytest.raises(RefusedError, match="a server draws the tokens"):
        read_explain({"messages": MESSAGES}, known, "")


@pytest.mark.parametrize("body", [[], "x", 1, None, True])
def test_a_body_is_an_object(body: Any) -> None:
    for read in (read_chat, read_completion, read_response, read_explain):
        with pytest.raises(RefusedError, match="the request must be an object"):
            read(body, KNOWN, "")
