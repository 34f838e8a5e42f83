"""Chat: what is sent, to the letter, and as the real client's own types check it."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError, UsageError, WorkerError
from edgeproxy.explain import explain
from edgeproxy.explain.form import as_json
from edgeproxy.serve.events import Event, Loading, Queued, Reading
from edgeproxy.serve.openai.chat import read_chat, read_explain
from edgeproxy.serve.protocol import Request, Sent
from tests.helpers.explained import session_of, trio_of
from tests.helpers.openai_events import (
    KNOWN,
    NOW,
    VOCAB,
    ended,
    events_of,
    plain_steps,
    steps,
    streamed,
    whole,
    with_documents,
)

MESSAGES = [{"role": "user", "content": "Capital of Peru?"}]
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 5},
}
FIGURES = {
    "finish_reason": "stop",
    "first_token_seconds": 0.25,
    "seconds": 1.25,
    "tokens_per_second": 4.0,
    "acceptance": 0.75,
    "changed_share": 0.25,
    "documents": None,
}


def asked(**more: Any) -> Request:
    return read_chat({"model": "factbook", "messages": MESSAGES, **more}, KNOWN, "me")


def chunk(choice: dict[str, Any] | None, **more: Any) -> Sent:
    usual = {"index": 0, "logprobs": None, "finish_reason": None}
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": NOW}
    choices = [] if choice is None else [usual | choice]
    return Sent({**base, "model": "factbook", "choices": choices, **more})


ROLE = {"delta": {"role": "assistant", "content": "", "refusal": None}}


def test_a_plain_answer() -> None:
    assert whole(asked(), plain_steps()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": NOW,
        "model": "factbook",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " Limaé.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "edgeproxy": FIGURES,
    }


def test_a_stream() -> None:
    assert streamed(asked(stream=True), plain_steps()) == [
        chunk(ROLE),
        chunk({"delta": {"content": " Lima"}}),
        chunk({"delta": {"content": "é"}}),
        chunk({"delta": {"content": "."}}),
        chunk({"delta": {}, "finish_reason": "stop"}, edgeproxy=FIGURES),
        Sent("[DONE]"),
    ]


def test_a_stream_with_usage() -> None:
    request = asked(stream=True, stream_options={"include_usage": True})
    sent = streamed(request, plain_steps())
    assert sent[0] == chunk(ROLE, usage=None)
    assert sent[-3] == chunk({"delta": {}, "finish_reason": "stop"}, usage=None, edgeproxy=FIGURES)
    assert sent[-2:] == [chunk(None, usage=USAGE), Sent("[DONE]")]


BEFORE: list[Event] = [
    Queued(2),
    Loading("base.gguf", 0.51239),
    Reading(0, 7, 5),
    Reading(7, 7, 5),
]


def test_a_stream_with_progress() -> None:
    sent = streamed(asked(stream=True, return_progress=True), [*BEFORE, *plain_steps()])
    progress = {"total": 12, "cache": 5, "processed": 5, "time_ms": 0}
    assert sent[:5] == [
        chunk({"delta": {}}, edgeproxy={"queued": {"before": 2}}),
        chunk({"delta": {}}, edgeproxy={"loading": {"what": "base.gguf", "share": 0.5124}}),
        chunk({"delta": {}}, prompt_progress=progress),
        chunk({"delta": {}}, prompt_progress=progress | {"processed": 12, "time_ms": 12}),
        chunk(ROLE),
    ]


def test_progress_is_told_only_to_those_who_ask() -> None:
    assert streamed(asked(stream=True), BEFORE) == []


LOGPROBS = [
    {
        "token": " Lima",
        "bytes": [32, 76, 105, 109, 97],
        "logprob": -0.1,
        "top_logprobs": [
            {"token": " Lima", "bytes": [32, 76, 105, 109, 97], "logprob": -0.1},
            {"token": " Paris", "bytes": [32, 80, 97, 114, 105, 115], "logprob": -2.5},
        ],
        "edgeproxy": {
            "id": 0,
            "base": None,
            "expert": -0.05,
            "anti_expert": -0.1,
            "drafted": False,
        },
    },
    {
        "token": "�",
        "bytes": [195],
        "logprob": -0.5,
        "top_logprobs": [
            {"token": "�", "bytes": [195], "logprob": -0.5},
            {"token": ".", "bytes": [46], "logprob": -1.0},
        ],
        "edgeproxy": {
            "id": 1,
            "base": None,
            "expert": -0.25,
            "anti_expert": -0.5,
            "drafted": False,
        },
    },
    {
        "token": "�",
        "bytes": [169],
        "logprob": -0.25,
        "top_logprobs": [
            {"token": "�", "bytes": [169], "logprob": -0.25},
            {"token": "<|end|>", "bytes": None, "logprob": -3.0},
        ],
        "edgeproxy": {
            "id": 2,
            "base": None,
            "expert": -0.125,
            "anti_expert": -0.25,
            "drafted": True,
        },
    },
    {
        "token": ".",
        "bytes": [46],
        "logprob": -1.5,
        "top_logprobs": [
            {"token": "<|end|>", "bytes": None, "logprob": -0.75},
            {"token": ".", "bytes": [46], "logprob": -1.5},
        ],
        "edgeproxy": {
            "id": 3,
            "base": None,
            "expert": -0.75,
            "anti_expert": -1.5,
            "drafted": False,
        },
    },
]


def test_log_probabilities_of_a_plain_answer() -> None:
    answer = whole(asked(logprobs=True, top_logprobs=2), steps())
    assert answer["choices"][0]["logprobs"] == {"content": LOGPROBS, "refusal": None}


def test_log_probabilities_of_a_stream_come_with_their_tokens() -> None:
    sent = streamed(asked(logprobs=True, top_logprobs=2, stream=True), steps())
    told = [({"content": [each], "refusal": None}) for each in LOGPROBS]
    assert sent[:6] == [
        chunk(ROLE),
        chunk({"delta": {"content": " Lima"}, "logprobs": told[0]}),
        chunk({"delta": {"content": ""}, "logprobs": told[1]}),
        chunk({"delta": {"content": "é"}, "logprobs": told[2]}),
        chunk({"delta": {"content": "."}, "logprobs": told[3]}),
        chunk({"delta": {}, "finish_reason": "stop"}, edgeproxy=FIGURES),
    ]


def test_one_model_alone_tells_its_tokens_and_no_others() -> None:
    answer = whole(asked(model="factbook:base", logprobs=True), plain_steps())
    assert answer["model"] == "factbook:base"
    assert answer["choices"][0]["logprobs"]["content"][0] == {
        "token": " Lima",
        "bytes": [32, 76, 105, 109, 97],
        "logprob": -0.1,
        "top_logprobs": [],
        "edgeproxy": {"id": 0},
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("context", "length"), ("cancelled", "length")],
)
def test_why_a_reply_ended(reason: Any, finish: str) -> None:
    answer = whole(asked(), plain_steps(reason))
    assert answer["choices"][0]["finish_reason"] == finish
    assert answer["edgeproxy"]["finish_reason"] == reason


def test_a_reply_of_nothing() -> None:
    sent = streamed(asked(stream=True), [ended()])
    finish = chunk({"delta": {}, "finish_reason": "stop"}, edgeproxy=FIGURES)
    assert sent == [chunk(ROLE), finish, Sent("[DONE]")]
    assert whole(asked(), [ended("cancelled")])["choices"][0]["message"]["content"] == ""


def test_documents_are_named_without_their_folder_and_with_what_was_taken() -> None:
    documents = whole(asked(), [with_documents()])["edgeproxy"]["documents"]
    taken = {"quotation": "Lima", "lacks": ["Bolivia"]}
    left: dict[str, Any] = {"quotation": None, "lacks": []}
    peru = {"source": "peru.txt", "place": "page 3", "trail": ["Peru"]}
    chile = {"source": "chile.txt", "place": "page 3", "trail": ["Chile"]}
    assert documents == {"read_by": "base", "passages": [peru | taken, chile | left]}


def test_metadata_comes_back() -> None:
    assert whole(asked(metadata={"a": "b"}), plain_steps())["metadata"] == {"a": "b"}


def test_a_stream_that_fails_says_so_as_the_client_expects() -> None:
    writer = asked(stream=True).make_writer(VOCAB)
    writer.take(plain_steps()[0])
    [sent] = writer.failed(WorkerError("it ended", "SIGSEGV", ("/secret/path",)))
    assert sent == Sent(
        {
            "error": {
                "message": "the process that the models run in ended by SIGSEGV; the next "
                "request starts a fresh one",
                "type": "worker_error",
                "param": None,
                "code": "worker_failed",
            }
        }
    )
    [sent] = writer.failed(ContextFullError("too long"))
    assert isinstance(sent.data, dict)
    assert sent.data["error"]["code"] == "context_length_exceeded"


def test_nothing_is_answered_before_the_end() -> None:
    with pytest.raises(UsageError, match="not ended"):
        asked().make_writer(VOCAB).whole()


ALL = {"logprobs": True, "top_logprobs": 2}


@pytest.mark.parametrize("more", [{}, ALL, {"metadata": {"a": "b"}}])
def test_the_real_clients_types_take_a_plain_answer(more: dict[str, Any]) -> None:
    found = ChatCompletion.model_validate(whole(asked(**more), steps()), strict=True)
    assert found.choices[0].message.content == " Limaé."
    assert found.usage is not None
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cached_tokens == 5


@pytest.mark.parametrize("more", [{}, ALL, {"stream_options": {"include_usage": True}}])
def test_the_real_clients_types_take_a_stream(more: dict[str, Any]) -> None:
    request = asked(stream=True, return_progress=True, **more)
    *chunks, done = streamed(request, [*BEFORE, *steps()])
    assert done == Sent("[DONE]")
    read = [ChatCompletionChunk.model_validate(each.data, strict=True) for each in chunks]
    texts = (each.choices[0].delta.content or "" for each in read if each.choices)
    assert "".join(texts) == " Limaé."


WORDS = [" It", " is", " Lima"]


def explained(request: Request) -> tuple[list[Event], dict[str, Any], Vocab]:
    """A real turn of fakes that records, its events, and its explanation."""
    session = session_of(trio_of(WORDS))
    turn = session.reply("What?", record=request.wanted.record, max_tokens=8)
    events = list(events_of(turn, session))
    return events, as_json(explain(turn, session)), session.vocab


def test_an_explanation_is_the_plain_answer() -> None:
    request = read_explain({"messages": MESSAGES}, KNOWN, "me")
    events, explanation, vocab = explained(request)
    assert whole(request, events, vocab) == explanation
    assert len(explanation["tokens"]) == 4


def test_an_explanation_is_a_streams_last_event_but_one() -> None:
    request = read_explain({"messages": MESSAGES, "stream": True}, KNOWN, "me")
    events, explanation, vocab = explained(request)
    *chunks, last, done = streamed(request, events, vocab)
    assert last == Sent(explanation, "explanation")
    assert done == Sent("[DONE]")
    for each in chunks:
        assert each.event is None
        ChatCompletionChunk.model_validate(each.data, strict=True)


def test_a_chat_can_have_an_explanation_too() -> None:
    request = asked(explain=True)
    events, explanation, vocab = explained(request)
    answer = whole(request, events, vocab)
    assert answer["explanation"] == explanation
    assert answer["choices"][0]["message"]["content"] == " It is Lima"
    ChatCompletion.model_validate(answer, strict=True)


def test_what_was_not_recorded_is_not_explained() -> None:
    session = session_of(trio_of(WORDS))
    turn = session.reply("What?", max_tokens=8)
    with pytest.raises(UsageError, match="record"):
        streamed(asked(explain=True), list(events_of(turn, session)), session.vocab)
