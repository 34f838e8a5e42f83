"""Replies that are cancelled by what they are called: under way, waiting, and none at all."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.serve.openai.cancelling import cancel
from edgeproxy.serve.protocol import RefusedError, WithdrawnError
from tests.helpers.clients import until
from tests.helpers.engine_bench import bench, run


def test_a_reply_under_way_ends_with_what_was_said() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.say("Hello", "H")
            client = it.ask("Hello", id="one")
            await until(lambda: client.text == "H")
            assert it.engine.cancel("one")
            last = await client.ended()
            assert (last.finish_reason, last.turn.text, client.text) == ("cancelled", "H", "H")
            assert not it.engine.cancel("one")
            assert await it.answered("next") == "to next"
            assert it.outcomes == {"cancelled": 1, "stop": 1}

    run(work)


def test_a_reply_whose_prompt_is_read_ends_without_words() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.read("Hello", 1, 4)
            client = it.ask("Hello", id="one")
            await until(lambda: "Hello" in it.told.begun)
            assert it.engine.cancel("one")
            last = await client.ended()
            assert (last.finish_reason, last.turn.text) == ("cancelled", "")

    run(work)


def test_a_reply_that_waits_is_withdrawn() -> None:
    async def work() -> None:
        async with bench() as it:
            first = await it.begun("first")
            second, third = it.ask("second", id="two"), it.ask("third", id="three")
            await until(lambda: it.engine.waiting == 2)
            assert it.engine.cancel("two")
            assert isinstance(await second.failed(), WithdrawnError)
            assert not it.engine.cancel("two")
            await until(lambda: third.places == [2, 1])
            for text in ("first", "third"):
                it.told.answer(text, "a")
            await first.ended()
            await third.ended()
            assert "second" not in it.told.begun
            assert it.outcomes == {"cancelled": 1, "stop": 2}

    run(work)


def test_a_reply_that_waits_for_models_is_withdrawn_and_they_stay_for_others() -> None:
    async def work() -> None:
        async with bench() as it:
            it.load.may_load.clear()
            client = it.ask("Hello", id="one")
            await until(lambda: it.load.begun == 1)
            assert it.engine.cancel("one")
            assert isinstance(await client.failed(), WithdrawnError)
            it.load.may_load.set()
            assert await it.answered("next") == "to next"
            assert it.load.begun == 1

    run(work)


def test_a_reply_of_a_model_that_is_made_ready_is_withdrawn() -> None:
    async def work() -> None:
        async with bench() as it:
            assert await it.answered("first") == "to first"
            it.load.may_solo.clear()
            client = it.ask("Hello", answers="base", id="one")
            await until(lambda: it.engine.is_busy)
            assert it.engine.cancel("one")
            assert isinstance(await client.failed(), WithdrawnError)
            assert await it.answered("next") == "to next"

    run(work)


def test_a_name_that_no_reply_has_ends_nothing() -> None:
    async def work() -> None:
        async with bench() as it:
            client = await it.begun("nameless")
            for name in ("", "chatcmpl-1", "nameless"):
                assert not it.engine.cancel(name)
            it.told.answer("nameless", "a")
            assert (await client.ended()).finish_reason == "stop"

    run(work)


def test_a_client_that_leaves_after_it_cancelled_does_no_harm() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.say("Hello", "H")
            client = it.ask("Hello", id="one")
            await until(lambda: client.text == "H")
            assert it.engine.cancel("one")
            await client.leave()
            assert await it.answered("next") == "to next"
            assert sum(it.outcomes.values()) == 2

    run(work)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "chatcmpl-0"}, 404),
        ({}, 400),
        ({"id": None}, 400),
        ({"id": ""}, 400),
        ({"id": 7}, 400),
        ({"id": ["x"]}, 400),
        ({"id": "x" * 257}, 400),
        ({"id": "\ud800"}, 400),
        ({"id": "a\x00"}, 400),
        ({"id": "x", "all": True}, 400),
    ],
)
def test_a_request_that_names_no_reply_is_refused(body: dict[str, Any], status: int) -> None:
    async def work() -> None:
        async with bench() as it:
            with pytest.raises(RefusedError) as caught:
                await cancel(it.engine, body)
            assert caught.value.status == status

    run(work)
