"""What is asked for besides replies: cancelling, over HTTP and the real engine; what waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from edgeproxy.serve.http.app import make_app
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.wiring import parts_of
from edgeproxy.serve.openai import routes
from tests.helpers.clients import until
from tests.helpers.engine_bench import Bench, bench, run
from tests.helpers.http_fakes import KEY, WITH_KEY
from tests.helpers.openai_events import hold_stamps


@pytest.fixture(autouse=True)
def held_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_stamps(monkeypatch)


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Bench, httpx.AsyncClient]]:
    """An engine that says what it is told, and a client of its server, which has the key."""
    async with bench() as it:
        app = make_app(parts_of(it.engine), Guards(KEY))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=WITH_KEY
        ) as client:
            yield it, client


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def chunks(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_stream_that_is_cancelled_ends_properly() -> None:
    async def work() -> None:
        async with asking() as (it, client):
            it.told.say("Hello", "H")
            body = chat("Hello", stream=True, stream_options={"include_usage": True})
            reply = asyncio.create_task(client.post(routes.CHAT, json=body))
            await until(lambda: it.told.begun)
            cancelled = await client.post(routes.CANCEL, json={"id": "chatcmpl-1"})
            assert (cancelled.status_code, cancelled.json()["cancelled"]) == (200, True)
            found = await reply
            assert found.headers["x-reply-id"] == "chatcmpl-1"
            *said, ended, usage = chunks(found.text)
            assert {each["id"] for each in (*said, ended, usage)} == {"chatcmpl-1"}
            assert ended["edgeproxy"]["finish_reason"] == "cancelled"
            assert ended["choices"][0]["finish_reason"] == "length"
            assert usage["usage"]["prompt_tokens"] == 10
            again = await client.post(routes.CANCEL, json={"id": "chatcmpl-1"})
            assert (again.status_code, again.json()["error"]["param"]) == (404, "id")

    run(work)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (routes.CHAT, chat("Hello"), "chatcmpl-1"),
        (routes.COMPLETIONS, {"prompt": "Hello"}, "cmpl-1"),
        (routes.RESPONSES, {"input": "Hello"}, "resp_1"),
    ],
)
def test_a_plain_call_that_is_cancelled_answers_what_was_said(
    path: str, body: dict[str, Any], name: str
) -> None:
    async def work() -> None:
        async with asking() as (it, client):
            it.told.say("Hello", "H")
            it.told.read("Hello", 1, 1)  # what was said before is there
            reply = asyncio.create_task(client.post(path, json=body))
            await until(lambda: it.told.begun and not it.told.has_more("Hello"))
            await client.post(routes.CANCEL, json={"id": name})
            found = await reply
            assert found.status_code == 200
            assert found.headers["x-reply-id"] == found.json()["id"] == name
            assert found.json()["edgeproxy"]["finish_reason"] == "cancelled"
            assert '"H"' in found.text

    run(work)


@pytest.mark.parametrize("streams", [False, True])
def test_a_reply_that_is_cancelled_while_it_waits_is_an_error(streams: bool) -> None:
    async def work() -> None:
        async with asking() as (it, client):
            first = await it.begun("first")
            body = chat("second", stream=streams)
            reply = asyncio.create_task(client.post(routes.CHAT, json=body))
            await until(lambda: it.engine.waiting == 1)
            assert (await client.post(routes.CANCEL, json={"id": "chatcmpl-1"})).is_success
            found = await reply
            assert found.status_code == 499
            assert found.json()["error"]["code"] == "cancelled"
            it.told.answer("first", "a")
            await first.ended()

    run(work)


def test_who_waits_hears_of_its_place_at_once_where_the_models_are_loaded() -> None:
    async def work() -> None:
        async with asking() as (it, client):
            assert await it.answered("before") == "to before"
            await it.engine.vocab()
            first = await it.begun("first")
            body = chat("second", stream=True, return_progress=True)
            reply = asyncio.create_task(client.post(routes.CHAT, json=body))
            await until(lambda: it.engine.waiting == 1)
            # What is told while it waits stands before the error: the stream had begun.
            for _ in range(20):
                await asyncio.sleep(0)
            await client.post(routes.CANCEL, json={"id": "chatcmpl-1"})
            found = await reply
            assert found.status_code == 200
            assert '"queued":{"before":1}' in found.text
            assert '"code":"cancelled"' in found.text
            it.told.answer("first", "a")
            await first.ended()

    run(work)


def test_cancelling_needs_the_key_and_is_a_post() -> None:
    async def work() -> None:
        async with asking() as (_, client):
            bare = {"Authorization": ""}
            found = await client.post(routes.CANCEL, json={"id": "x"}, headers=bare)
            assert found.status_code == 401
            found = await client.get(routes.CANCEL)
            assert (found.status_code, found.headers["allow"]) == (405, "POST")
            found = await client.post(routes.CANCEL, content=b"id=x")
            assert found.status_code == 415

    run(work)
