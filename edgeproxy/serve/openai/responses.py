"""`/v1/responses`, of text and stateless: how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from edgeproxy.prompts.formats import Message
from edgeproxy.serve.openai import fields, stamps
from edgeproxy.serve.openai.asking import (
    Given,
    check_length,
    check_stream_options,
    message_of,
    wanted,
)
from edgeproxy.serve.openai.response_writer import Echoed, ResponseWriter
from edgeproxy.serve.openai.shapes import Fields, Object
from edgeproxy.serve.protocol import Known, Request

PREFIX = "resp_"
"""Of the ids of replies."""


def read_response(
    body: Mapping[str, Any], known: Known, who: str, table: Fields = fields.RESPONSES
) -> Request:
    """A request to `/v1/responses`; see `protocol.Read`. `table` has its fields."""
    given = Object(table).read(body)
    check_stream_options(given)
    messages = _messages(given)
    check_length(messages, "input")
    text = given.get("text", {}).get("format", {"type": "text"})
    tells = bool(given.get("include")) or given.get("top_logprobs", 0) > 0
    best = given.get("top_logprobs", 0) if tells else None
    wants = wanted(
        given,
        known,
        who,
        messages,
        max_tokens=given.get("max_output_tokens"),
        format_of=text,
        format_name="text.format",
        best=best,
        called=stamps.new_id(PREFIX),
    )
    sampling = wants.sampling or known.sampling
    echoed = Echoed(
        id=wants.id,
        model=given.get("model", known.name),
        instructions=given.get("instructions"),
        max_output_tokens=given.get("max_output_tokens"),
        metadata=given.get("metadata", {}),
        parallel_tool_calls=given.get("parallel_tool_calls", True),
        tool_choice=given.get("tool_choice", "auto"),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        format=text,
        user=given.get("user"),
        best=best,
    )
    return Request(wants, given.get("stream", False), partial(ResponseWriter, echoed))


def _messages(given: Given) -> list[Message]:
    system = given.get("instructions")
    opening = [message_of("system", system, "instructions")] if system else []
    asked = given["input"]
    if isinstance(asked, str):
        return [*opening, message_of("user", asked, "input")]
    rest = (
        message_of(each["role"], each["content"], f"input[{n}]") for n, each in enumerate(asked)
    )
    return [*opening, *rest]
