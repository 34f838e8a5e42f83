"""Responses: what is sent, to the letter, and as the real client's own types check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edgeproxy.errors import ContextFullError, QueueFullError, UsageError, WorkerError
from edgeproxy.serve.events import Queued, Reading
from edgeproxy.serve.openai.responses import read_response
from edgeproxy.serve.protocol import Request, Sent
from tests.helpers.openai_events import KNOWN, NOW, VOCAB, plain_steps, steps, streamed, whole
from tests.serve.openai.test_chat import FIGURES
from tests.serve.openai.test_chat import LOGPROBS as CHAT_LOGPROBS


def as_here(entry: dict[str, Any]) -> dict[str, Any]:
    """A token's entry, as this protocol has it: one without bytes has an empty list of them."""
    best = [{**each, "bytes": each["bytes"] or []} for each in entry["top_logprobs"]]
    return entry | {"top_logprobs": best}


LOGPROBS = [as_here(each) for each in CHAT_LOGPROBS]


def asked(**more: Any) -> Request:
    return read_response({"model": "factbook", "input": "Capital of Peru?", **more}, KNOWN, "me")


def response(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": NOW,
        "completed_at": NOW if status == "completed" else None,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "factbook",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 0.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 0.95,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        **more,
    }


def message(status: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_2",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(parts),
    }


def part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": logprobs or [],
    }


USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 17,
}
WHOLE = response(
    "completed",
    output=[message("completed", part(" Limaé."))],
    usage=USAGE,
    edgeproxy=FIGURES,
)


def test_a_plain_answer() -> None:
    assert whole(asked(), plain_steps()) == WHOLE


def test_a_plain_answer_says_what_it_was_asked_for() -> None:
    schema = {"type": "json_schema", "name": "one", "schema": {"type": "object"}, "strict": True}
    more: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 7,
        "metadata": {"a": "b"},
        "temperature": 1,
        "top_p": 0.5,
        "user": "me",
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }
    answer = whole(asked(text={"format": schema}, **more), plain_steps())
    assert answer == WHOLE | more | {"text": {"format": schema, "verbosity": "medium"}}


def event(number: int, name: str, **more: Any) -> Sent:
    return Sent({"type": name, "sequence_number": number, **more}, name)


AT = {"item_id": "msg_2", "output_index": 0, "content_index": 0}


def test_a_stream() -> None:
    text = part(" Limaé.")
    assert streamed(asked(stream=True), [Queued(3), Reading(1, 2), *plain_steps()]) == [
        event(0, "response.created", response=response("in_progress")),
        event(1, "response.in_progress", response=response("in_progress")),
        event(2, "response.output_item.added", output_index=0, item=message("in_progress")),
        event(3, "response.content_part.added", part=part(""), **AT),
        event(4, "response.output_text.delta", delta=" Lima", logprobs=[], **AT),
        event(5, "response.output_text.delta", delta="é", logprobs=[], **AT),
        event(6, "response.output_text.delta", delta=".", logprobs=[], **AT),
        event(7, "response.output_text.done", text=" Limaé.", logprobs=[], **AT),
        event(8, "response.content_part.done", part=text, **AT),
        event(9, "response.output_item.done", output_index=0, item=message("completed", text)),
        event(10, "response.completed", response=WHOLE),
    ]


@pytest.mark.parametrize("reason", ["length", "context", "cancelled"])
def test_a_reply_that_was_cut_is_incomplete(reason: Any) -> None:
    answer = whole(asked(), plain_steps(reason))
    assert answer == response(
        "incomplete",
        incomplete_details={"reason": "max_output_tokens"},
        output=[message("incomplete", part(" Limaé."))],
        usage=USAGE,
        edgeproxy=FIGURES | {"finish_reason": reason},
    )
    assert streamed(asked(), plain_steps(reason))[-1].event == "response.incomplete"


def test_log_probabilities() -> None:
    request = asked(top_logprobs=2, include=["message.output_text.logprobs"])
    sent = streamed(request, steps())
    deltas = [dict(each.data) for each in sent if each.event == "response.output_text.delta"]  # type: ignore[arg-type]
    assert [each["logprobs"] for each in deltas] == [[each] for each in LOGPROBS]
    assert [each["delta"] for each in deltas] == [" Lima", "", "é", "."]
    answer = whole(request, steps())
    assert answer["output"][0]["content"][0]["logprobs"] == LOGPROBS
    assert answer["top_logprobs"] == 2


def test_a_stream_that_fails_has_one_event_of_it() -> None:
    writer = asked(stream=True).make_writer(VOCAB)
    writer.take(plain_steps()[0])
    [sent] = writer.failed(WorkerError("it ended", "SIGKILL"))
    error = {
        "code": "server_error",
        "type": "worker_error",
        "message": "the process that the models run in ended by SIGKILL; the next request starts "
        "a fresh one",
    }
    assert sent == event(5, "response.failed", response=response("failed", error=error))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueFullError("full", 3), "rate_limit_exceeded"),
        (ContextFullError("too long"), "invalid_prompt"),
        (RuntimeError("secret"), "server_error"),
    ],
)
def test_the_code_of_a_failure_is_one_of_the_protocols(error: Exception, code: str) -> None:
    writer = asked(stream=True).make_writer(VOCAB)
    writer.take(plain_steps()[0])
    [sent] = writer.failed(error)
    assert isinstance(sent.data, Mapping)
    assert sent.data["response"]["error"]["code"] == code
    assert "secret" not in str(sent)


def test_a_stream_that_fails_before_it_begins_says_what_a_plain_call_would() -> None:
    [sent] = asked(stream=True).make_writer(VOCAB).failed(ContextFullError("too long"))
    assert sent == event(0, "error", code="context_length_exceeded", message="too long", param=None)


def test_nothing_is_answered_before_the_end() -> None:
    with pytest.raises(UsageError, match="not ended"):
        asked().make_writer(VOCAB).whole()


ALL = {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize("more", [{}, ALL])
def test_the_real_clients_types_take_it(more: dict[str, Any], reason: Any) -> None:
    events = [*steps()[:-1], plain_steps(reason)[-1]]
    found = Response.model_validate(whole(asked(**more), events), strict=True)
    assert found.output_text == " Limaé."
    for sent in streamed(asked(**more), events):
        assert EVENT.validate_python(sent.data, strict=True).type == sent.event


def test_the_real_clients_types_take_a_failure() -> None:
    writer = asked(stream=True).make_writer(VOCAB)
    [sent] = writer.failed(WorkerError("it ended"))
    assert EVENT.validate_python(sent.data, strict=True).type == "error"
    writer.take(plain_steps()[0])
    [sent] = writer.failed(WorkerError("it ended"))
    assert EVENT.validate_python(sent.data, strict=True).type == "response.failed"
