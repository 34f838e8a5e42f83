"""Completions: what is sent, to the letter, and as the real client's own types check it."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import Completion

from edgeproxy.serve.events import Queued
from edgeproxy.serve.openai.completions import read_completion
from edgeproxy.serve.protocol import Request, Sent
from tests.helpers.openai_events import KNOWN, NOW, plain_steps, steps, streamed, whole
from tests.serve.openai.test_chat import FIGURES, USAGE


def asked(**more: Any) -> Request:
    return read_completion({"model": "factbook", "prompt": "Capital: ", **more}, KNOWN, "me")


def chunk(choice: dict[str, Any] | None, **more: Any) -> Sent:
    usual = {"index": 0, "text": "", "logprobs": None, "finish_reason": None}
    base = {"id": "cmpl-1", "object": "text_completion", "created": NOW, "model": "factbook"}
    return Sent({**base, "choices": [] if choice is None else [usual | choice], **more})


def test_a_plain_answer() -> None:
    assert whole(asked(), plain_steps("length")) == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": NOW,
        "model": "factbook",
        "choices": [{"index": 0, "text": " Limaé.", "logprobs": None, "finish_reason": "length"}],
        "usage": USAGE,
        "edgeproxy": FIGURES | {"finish_reason": "length"},
    }


def test_a_stream() -> None:
    request = asked(stream=True, stream_options={"include_usage": True}, return_progress=True)
    assert streamed(request, [Queued(1), *plain_steps()]) == [
        chunk({}, usage=None, edgeproxy={"queued": {"before": 1}}),
        chunk({"text": " Lima"}, usage=None),
        chunk({"text": "é"}, usage=None),
        chunk({"text": "."}, usage=None),
        chunk({"finish_reason": "stop"}, usage=None, edgeproxy=FIGURES),
        chunk(None, usage=USAGE),
        Sent("[DONE]"),
    ]


LOGPROBS = {
    "tokens": [" Lima", "�", "�", "."],
    "token_logprobs": [-0.1, -0.5, -0.25, -1.5],
    # Two halves of a character have one text, and the token that was drawn is always there.
    "top_logprobs": [{" Lima": -0.1}, {"�": -0.5}, {"�": -0.25}, {"<|end|>": -0.75, ".": -1.5}],
    "text_offset": [0, 5, 5, 6],
}


def test_log_probabilities() -> None:
    answer = whole(asked(logprobs=1), steps())
    assert answer["choices"][0]["logprobs"] == LOGPROBS


def test_log_probabilities_of_what_was_drawn_alone() -> None:
    answer = whole(asked(logprobs=0), steps())
    assert answer["choices"][0]["logprobs"] == LOGPROBS | {"top_logprobs": None}


def test_a_stream_tells_where_its_tokens_are_in_the_whole_text() -> None:
    sent = streamed(asked(logprobs=1, stream=True), steps())
    told = [dict(each.data)["choices"][0]["logprobs"] for each in sent[:4]]  # type: ignore[arg-type]
    assert {name: [each[name][0] for each in told] for name in LOGPROBS} == LOGPROBS


@pytest.mark.parametrize("more", [{}, {"logprobs": 0}, {"logprobs": 2}])
def test_the_real_clients_types_take_it(more: dict[str, Any]) -> None:
    found = Completion.model_validate(whole(asked(**more), steps()), strict=True)
    assert found.choices[0].text == " Limaé."
    request = asked(**more, stream=True, stream_options={"include_usage": True})
    *chunks, _ = streamed(request, steps())
    for each in chunks[:-2]:  # the real type wants a reason of each chunk, and no server gives one
        assert isinstance(each.data, dict)
        each.data["choices"][0]["finish_reason"] = "stop"
    for each in chunks:
        Completion.model_validate(each.data, strict=True)
