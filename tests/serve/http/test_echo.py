"""Echo, over HTTP, the real engine and a trio of fakes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.http.app import make_app
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.wiring import parts_of
from edgeproxy.serve.openai import routes
from tests.helpers.engine_bench import run
from tests.helpers.fake_worker import fake_load
from tests.helpers.fakes import BOS, END
from tests.helpers.http_fakes import KEY, WITH_KEY
from tests.helpers.told_sessions import RECIPE

TEXT = "Hello\nHi"


@asynccontextmanager
async def asking(*, has_key: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server of an engine over fakes."""
    engine = SharedEngine(lambda **given: fake_load(**given), RECIPE)
    transport = httpx.ASGITransport(make_app(parts_of(engine), Guards(KEY)))
    headers = WITH_KEY if has_key else {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=headers
    ) as client:
        yield client
    await engine.close(0.0)


async def completed(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(routes.COMPLETIONS, json={"prompt": TEXT, "echo": True, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_as_a_harness_asks() -> None:
    """The request of lm-evaluation-harness, and what it makes of the answer."""

    async def work() -> None:
        async with asking() as client:
            how = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234}
            ids = (await client.post(routes.TOKENIZE, json={"prompt": TEXT})).json()["tokens"]
            assert ids == list(TEXT.encode())
            for prompt in (TEXT, [TEXT], ids, [ids]):
                found = await completed(client, prompt=prompt, **how)
                (choice,) = found["choices"]
                assert choice["text"] == f"{TEXT},"
                logprobs = choice["logprobs"]
                assert logprobs["tokens"] == [*TEXT, ","]
                told = logprobs["token_logprobs"]
                context = len("Hello\n")
                assert sum(told[context:-1]) == pytest.approx(0.0, abs=1e-3)
                assert sum(told[1:context]) < -10.0
                best = logprobs["top_logprobs"][context:]
                for logprob, top in zip(told[context:], best, strict=True):
                    assert logprob == max(top.values())
                assert found["usage"]["prompt_tokens"] == len(TEXT)
                assert found["usage"]["completion_tokens"] == 1
            of_one = await completed(client, model=f"{RECIPE.name}:base", **how)
            assert len(of_one["choices"][0]["logprobs"]["tokens"]) == len(TEXT) + 1
            about = (await client.get(routes.TOKENIZER)).json()
            assert about["bos_token"] == "<s>"
            assert about["eos_token"] is None
            named = await client.post(routes.TOKENIZE, json={"prompt": "<s>"})
            assert named.json()["tokens"] == [BOS]
            opened = await completed(client, prompt=[BOS, *ids], **how)
            assert opened["choices"][0]["text"] == f"{TEXT},"
            assert len(opened["choices"][0]["logprobs"]["tokens"]) == len(TEXT) + 2
            text = await client.post(routes.DETOKENIZE, json={"tokens": ids})
            assert text.json() == {"prompt": TEXT}

    run(work)


def test_a_prompt_alone_whole_and_as_a_stream() -> None:
    async def work() -> None:
        async with asking() as client:
            found = await completed(client, max_tokens=0, logprobs=2)
            (choice,) = found["choices"]
            assert (choice["text"], choice["finish_reason"]) == (TEXT, "length")
            assert choice["logprobs"]["token_logprobs"][0] is None
            assert found["usage"]["completion_tokens"] == 0
            body = {"prompt": TEXT, "echo": True, "max_tokens": 0, "logprobs": 2, "stream": True}
            answer = await client.post(routes.COMPLETIONS, json=body)
            data = [
                line.removeprefix("data: ")
                for line in answer.text.splitlines()
                if line.startswith("data: ")
            ]
            assert data.pop() == "[DONE]"
            first, last = (json.loads(each)["choices"][0] for each in data)
            assert first["text"] == TEXT
            assert first["logprobs"] == choice["logprobs"]
            assert (last["text"], last["finish_reason"]) == ("", "length")

    run(work)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": [97, END], "max_tokens": 0}, "only the first token"),
        ({"prompt": [260]}, "there are 260"),
        ({"prompt": [260], "model": "factbook:base"}, "there are 260"),
        ({"prompt": "x" * 5000, "logprobs": 1}, "do not fit the context"),
        ({"prompt": [120] * 5000, "logprobs": 1}, "do not fit the context"),
        ({"prompt": [97], "base_weight": 0}, "give the text itself"),
        ({"echo": False, "max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_is_refused(body: dict[str, Any], said: str) -> None:
    async def work() -> None:
        async with asking() as client:
            if "model" in body:
                body["model"] = f"{RECIPE.name}:base"
            answer = await client.post(
                routes.COMPLETIONS, json={"prompt": TEXT, "echo": True, **body}
            )
            assert answer.status_code == 400
            assert said in answer.json()["error"]["message"]
            assert (await completed(client, max_tokens=0))["choices"][0]["text"] == TEXT

    run(work)


@pytest.mark.parametrize("path", [routes.TOKENIZE, routes.DETOKENIZE, routes.TOKENIZER])
def test_they_need_the_key(path: str) -> None:
    async def work() -> None:
        async with asking(has_key=False) as client:
            how = "GET" if path == routes.TOKENIZER else "POST"
            answer = await client.request(how, path, json={})
            assert answer.status_code == 401

    run(work)
