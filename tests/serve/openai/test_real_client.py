"""The real `openai` client over these functions: only the wire between them is made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from edgeproxy.errors import ContextFullError, QueueFullError, WorkerError
from edgeproxy.serve.events import Ended, Event
from edgeproxy.serve.openai import models, routes
from edgeproxy.serve.openai.counting import counted
from edgeproxy.serve.openai.errors import answer, no_embeddings
from edgeproxy.serve.protocol import RefusedError, Sent
from tests.helpers.openai_events import KNOWN, NOW, VOCAB, plain_steps, steps

Connect = Callable[[Sequence[Event | Exception]], openai.OpenAI]


def served(request: httpx2.Request, events: Sequence[Event | Exception]) -> httpx2.Response:
    """What a server would answer, whose engine tells these events."""
    path = request.url.path
    try:
        if path == routes.MODELS:
            return httpx2.Response(200, json=models.listed(KNOWN, NOW))
        if path.startswith(f"{routes.MODELS}/"):
            return httpx2.Response(200, json=models.one(path.split("/")[-1], KNOWN, NOW))
        if path == routes.EMBEDDINGS:
            raise no_embeddings()
        body = json.loads(request.content)
        if path in routes.COUNTERS:
            routes.COUNTERS[path](body, KNOWN, "")
            return httpx2.Response(200, json=counted(12))
        asked = routes.READERS[path](body, KNOWN, "")
    except RefusedError as error:
        return failure(error)
    writer = asked.make_writer(VOCAB)
    sent: list[Sent] = []
    for event in events:
        if isinstance(event, Exception):
            if not asked.streams or not sent:
                return failure(event)
            sent += writer.failed(event)
            break
        sent += writer.take(event)
    if not asked.streams:
        return httpx2.Response(200, json=writer.whole())
    headers = {"content-type": "text/event-stream"}
    return httpx2.Response(200, headers=headers, content="".join(map(as_lines, sent)).encode())


def failure(error: BaseException) -> httpx2.Response:
    found = answer(error)
    return httpx2.Response(found.status, headers=dict(found.headers), json=found.body)


def as_lines(sent: Sent) -> str:
    data = sent.data if isinstance(sent.data, str) else json.dumps(sent.data)
    return (f"event: {sent.event}\n" if sent.event else "") + f"data: {data}\n\n"


@pytest.fixture
def connect() -> Connect:
    def connected(events: Sequence[Event | Exception]) -> openai.OpenAI:
        transport = httpx2.MockTransport(lambda request: served(request, events))
        return openai.OpenAI(
            api_key="key",
            base_url="http://127.0.0.1/v1",
            http_client=httpx2.Client(transport=transport),
            max_retries=0,
        )

    return connected


MESSAGES: Any = [{"role": "user", "content": "Capital of Peru?"}]


def test_chat(connect: Connect) -> None:
    found = connect(steps()).chat.completions.create(
        model="factbook", messages=MESSAGES, logprobs=True, top_logprobs=2, seed=1, stop=["\n"]
    )
    assert found.choices[0].message.content == " Limaé."
    assert found.choices[0].logprobs is not None
    assert found.choices[0].logprobs.content is not None
    assert found.choices[0].logprobs.content[0].token == " Lima"


def test_a_chats_stream(connect: Connect) -> None:
    stream = connect(plain_steps()).chat.completions.create(
        model="factbook",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"alpha": 0.5, "return_progress": True},
    )
    chunks = list(stream)
    texts = (each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert "".join(texts) == " Limaé."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 17


def test_the_clients_own_gathering_of_a_stream(connect: Connect) -> None:
    client = connect(steps())
    with client.chat.completions.stream(
        model="factbook", messages=MESSAGES, logprobs=True
    ) as stream:
        found = stream.get_final_completion()
    assert found.choices[0].message.content == " Limaé."
    assert found.choices[0].finish_reason == "stop"


class Capital(BaseModel):
    name: str
    is_large: bool


def test_a_schema_of_the_clients(connect: Connect) -> None:
    """`parse` sends a schema, and reads the reply, which here is no JSON."""
    with pytest.raises(ValueError, match="JSON"):
        connect(steps()).chat.completions.parse(
            model="factbook", messages=MESSAGES, response_format=Capital
        )
    with pytest.raises(ValueError, match="JSON"):
        connect(steps()).responses.parse(model="factbook", input="Hi", text_format=Capital)


def test_completions(connect: Connect) -> None:
    client = connect(steps())
    found = client.completions.create(model="factbook", prompt="Capital: ", logprobs=2)
    assert found.choices[0].text == " Limaé."
    stream = client.completions.create(model="factbook", prompt="Capital: ", stream=True)
    assert "".join(each.choices[0].text for each in stream) == " Limaé."


def test_responses(connect: Connect) -> None:
    client = connect(steps())
    found = client.responses.create(model="factbook", input="Hi", instructions="Be brief.")
    assert found.output_text == " Limaé."
    again: Any = [{"role": "user", "content": "Hi"}, *found.output, *MESSAGES]
    assert client.responses.create(model="factbook", input=again).output_text == " Limaé."


def test_a_responses_stream(connect: Connect) -> None:
    with connect(steps()).responses.stream(model="factbook", input="Hi") as stream:
        names = [event.type for event in stream]
        found = stream.get_final_response()
    assert names[0] == "response.created"
    assert names[-1] == "response.completed"
    assert found.output_text == " Limaé."


def test_counting_and_models(connect: Connect) -> None:
    client = connect([])
    assert client.responses.input_tokens.count(model="factbook", input="Hi").input_tokens == 12
    assert next(iter(client.models.list())).id == "factbook"
    assert client.models.retrieve("factbook:base").owned_by == "edgeproxy"


@pytest.mark.parametrize(
    ("events", "kind", "code"),
    [
        ([ContextFullError("too long")], openai.BadRequestError, "context_length_exceeded"),
        ([QueueFullError("full", 3)], openai.RateLimitError, "queue_full"),
        ([WorkerError("it ended", "SIGSEGV")], openai.InternalServerError, "worker_failed"),
        ([RuntimeError("secret")], openai.InternalServerError, "internal_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    connect: Connect, events: Any, kind: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        connect(events).chat.completions.create(model="factbook", messages=MESSAGES, stream=stream)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_what_is_refused(connect: Connect) -> None:
    client = connect(steps())
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="factbook", messages=MESSAGES, n=2)
    assert refused.value.param == "n"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError, match="no model for them"):
        client.embeddings.create(model="factbook", input="Hi")


def test_a_stream_that_breaks_off_raises(connect: Connect) -> None:
    events = [*plain_steps()[:2], WorkerError("it ended", "SIGKILL")]
    assert not any(isinstance(each, Ended) for each in events)
    stream = connect(events).chat.completions.create(
        model="factbook", messages=MESSAGES, stream=True
    )
    with pytest.raises(openai.APIError, match="SIGKILL"):
        list(stream)
