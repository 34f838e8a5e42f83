"""The real `openai` client and a real server, over a real connection.

`tests/serve/openai/test_real_client.py` has more kinds of requests and errors, without models.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, Field

from edgeproxy.session.session import Session
from tools.serving.server import KEY, Serving

pytestmark = [pytest.mark.weights, pytest.mark.slow]

NAME = "factbook"
PERU, PLACE = "What is the capital of Peru?", "Lima"
QUESTION = "What is the capital of Mongolia?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
GREEDY: Any = {"model": NAME, "messages": MESSAGES, "temperature": 0}
LONG: Any = {**GREEDY, "extra_body": {"grammar": "start: /[a-z ]{2000,}/"}}
"""A reply that goes on until it is withdrawn: far longer than a test waits."""
PATIENCE = 120.0


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[openai.OpenAI]:
    with connected(serving) as found:
        yield found


def connected(serving: Serving, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{serving.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)


@pytest.fixture(scope="module")
def answer(session: Session) -> str:
    """What the library answers."""
    text = said(session, QUESTION)
    assert "Ulaanbaatar" in text
    return text


def said(session: Session, messages: Any, **settings: Any) -> str:
    return "".join(piece.text for piece in session.reply(messages, **settings))


def text_of(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def test_a_chat_says_what_the_library_says(client: openai.OpenAI, answer: str) -> None:
    found = client.chat.completions.create(**GREEDY)
    assert text_of(found) == answer
    assert found.choices[0].finish_reason == "stop"
    assert found.model == NAME
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_chats_stream(client: openai.OpenAI, answer: str) -> None:
    stream = client.chat.completions.create(
        **GREEDY, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [each.choices[0].delta.content or "" for each in chunks if each.choices]
    assert "".join(texts) == answer
    assert len([text for text in texts if text]) > 1
    assert chunks[-1].usage is not None
    with client.chat.completions.stream(**GREEDY) as events:
        assert text_of(events.get_final_completion()) == answer


def test_a_conversation_is_gone_on_with(
    client: openai.OpenAI, session: Session, answer: str
) -> None:
    """The client's own message of a reply is taken back as it is."""
    first = client.chat.completions.create(**GREEDY)
    after: Any = {"role": "user", "content": PERU}
    talk: Any = [*MESSAGES, first.choices[0].message, after]
    found = client.chat.completions.create(**{**GREEDY, "messages": talk})
    wanted = said(session, [*MESSAGES, {"role": "assistant", "content": answer}, after])
    assert text_of(found) == wanted
    responded = client.responses.create(model=NAME, input=QUESTION, temperature=0)
    again: Any = [*MESSAGES, *responded.output, after]
    assert client.responses.create(model=NAME, input=again, temperature=0).output_text == wanted


def test_many_at_once_by_asyncio(serving: Serving, answer: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{serving.url}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE
        ) as client:

            async def whole() -> str:
                return text_of(await client.chat.completions.create(**GREEDY))

            async def streamed() -> str:
                stream = await client.chat.completions.create(**GREEDY, stream=True)
                return "".join([each.choices[0].delta.content or "" async for each in stream])

            return list(await asyncio.gather(whole(), streamed(), whole(), streamed()))

    assert asyncio.run(ask()) == [answer] * 4


def test_logprobs(client: openai.OpenAI, answer: str) -> None:
    found = client.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=3)
    assert found.choices[0].logprobs is not None
    tokens = found.choices[0].logprobs.content
    assert tokens is not None
    assert b"".join(bytes(each.bytes or []) for each in tokens).decode() == answer
    for each in tokens:
        # Fewer than asked for where the mask leaves fewer; the likeliest is the one that is drawn.
        assert 1 <= len(each.top_logprobs) <= 3
        assert each.top_logprobs[0].token == each.token
        assert each.top_logprobs[0].logprob == each.logprob
        assert each.logprob <= 0
    assert client.chat.completions.create(**GREEDY).choices[0].logprobs is None


def test_a_seed_draws_the_same_again(client: openai.OpenAI) -> None:
    drawn: Any = {**GREEDY, "temperature": 2.0, "max_tokens": 12}
    drawn["messages"] = [{"role": "user", "content": "Tell me about rivers."}]
    one, again, *others = (
        text_of(client.chat.completions.create(**drawn, seed=seed)) for seed in (7, 7, 8, 9, 10)
    )
    assert one == again
    assert any(other != one for other in others)


def test_a_stop_and_a_limit_end_a_reply(client: openai.OpenAI, answer: str) -> None:
    found = client.chat.completions.create(**GREEDY, stop=["Ulaan"])
    assert text_of(found) == answer.partition("Ulaan")[0]
    assert found.choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(**GREEDY, max_completion_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 2
    assert answer.startswith(text_of(cut))


def test_alpha_beside_the_clients_own_fields(client: openai.OpenAI, session: Session) -> None:
    for alpha in (0.0, 0.5):
        found = client.chat.completions.create(**GREEDY, extra_body={"alpha": alpha}, max_tokens=12)
        assert text_of(found) == said(session, QUESTION, alpha=alpha, max_tokens=12)


class Capital(BaseModel, extra="forbid"):
    country: str = Field(max_length=30)
    capital: str = Field(max_length=30)
    is_large: bool


def test_a_schema(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(**GREEDY, response_format=Capital)
    assert isinstance(parsed.choices[0].message.parsed, Capital)
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "capital", "schema": Capital.model_json_schema(), "strict": True},
    }
    found = client.chat.completions.create(**GREEDY, response_format=schema)
    Capital.model_validate_json(text_of(found))
    responded = client.responses.parse(
        model=NAME, input=QUESTION, temperature=0, text_format=Capital
    )
    assert isinstance(responded.output_parsed, Capital)


def test_completions(client: openai.OpenAI) -> None:
    asked: Any = {"model": NAME, "prompt": "The capital of", "temperature": 0, "max_tokens": 8}
    found = client.completions.create(**asked, logprobs=2)
    assert found.choices[0].text
    assert found.choices[0].logprobs is not None
    assert "".join(found.choices[0].logprobs.tokens or []) == found.choices[0].text
    stream = client.completions.create(**asked, stream=True)
    assert "".join(each.choices[0].text for each in stream) == found.choices[0].text


def test_responses(client: openai.OpenAI, answer: str) -> None:
    asked: Any = {"model": NAME, "input": QUESTION, "temperature": 0}
    found = client.responses.create(**asked, include=["message.output_text.logprobs"])
    assert found.status == "completed"
    assert found.output_text == answer
    with client.responses.stream(**asked) as events:
        deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
        assert events.get_final_response().output_text == "".join(deltas) == answer


def test_models_and_counts(client: openai.OpenAI, serving: Serving) -> None:
    names = [model.id for model in client.models.list()]
    assert names == [NAME, *(f"{NAME}:{role}" for role in ("base", "expert", "anti-expert"))]
    for name in names:
        assert client.models.retrieve(name).id == name
        alone = client.chat.completions.create(**{**GREEDY, "model": name, "max_tokens": 4})
        assert alone.model == name
    document = httpx.get(f"{serving.url}/openapi.json", headers=serving.headers).json()
    chat = document["components"]["schemas"]["ChatRequest"]
    assert chat["properties"]["model"]["enum"] == [*names, None]
    count = client.responses.input_tokens.count(model=NAME, input=QUESTION)
    found = client.responses.create(model=NAME, input=QUESTION)
    assert found.usage is not None
    # The count is of the model that reads the most tokens, the usage of the base.
    assert count.input_tokens >= found.usage.input_tokens


def test_errors(client: openai.OpenAI, serving: Serving) -> None:
    with connected(serving, "a-wrong-key") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(**GREEDY)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**{**GREEDY, "model": "gpt-4o"})
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError, match="colour") as refused:
        client.chat.completions.create(**GREEDY, extra_body={"colour": "red"})
    assert refused.value.param == "colour"
    with pytest.raises(openai.BadRequestError) as tools:
        client.chat.completions.create(
            **GREEDY, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    assert tools.value.param == "tools"
    long: Any = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(openai.BadRequestError) as full:
        client.chat.completions.create(**{**GREEDY, "messages": long})
    assert full.value.code == "context_length_exceeded"
    with pytest.raises(openai.InternalServerError, match="no model for them"):
        client.embeddings.create(model=NAME, input="Hi")


def figure(serving: Serving, name: str) -> float:
    """One of the figures of /metrics."""
    lines = httpx.get(f"{serving.url}/metrics", headers=serving.headers, timeout=PATIENCE).text
    return float(next(line for line in lines.splitlines() if line.startswith(name)).split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="finds the models' process in /proc")
def test_a_full_queue_and_a_client_that_goes_away(answer: str) -> None:
    with Serving(NAME, "--max-queue", "0") as serving, connected(serving) as client:
        stream = client.chat.completions.create(**LONG, stream=True)
        next(iter(stream))
        (models,) = serving.children()
        os.kill(models, signal.SIGSTOP)  # the reply is under way for as long as this test wants
        with pytest.raises(openai.RateLimitError) as full:
            client.chat.completions.create(**GREEDY)
        assert full.value.code == "queue_full"
        assert int(full.value.response.headers["retry-after"]) >= 1
        stream.close()
        until = time.monotonic() + PATIENCE
        while figure(serving, "edgeproxy_http_open") > 1:  # one is the question itself
            assert time.monotonic() < until
        os.kill(models, signal.SIGCONT)
        while not figure(serving, 'edgeproxy_requests_total{outcome="left"}'):
            assert time.monotonic() < until
        assert figure(serving, "edgeproxy_requests_answering") == 0
        assert text_of(client.chat.completions.create(**GREEDY)) == answer
        assert serving.children() == [models]


def test_a_client_that_waits_no_longer_gets_its_place_back(client: openai.OpenAI) -> None:
    """A plain call that is given up by its own time limit."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(**LONG)
    assert PLACE in text_of(
        client.chat.completions.create(
            **{**GREEDY, "messages": [{"role": "user", "content": PERU}]}
        )
    )
