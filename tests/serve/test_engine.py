"""The engine, over sessions that say what a test tells them."""

from __future__ import annotations

import gc
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import (
    EngineError,
    OutOfMemoryError,
    QueueFullError,
    TooSlowError,
    UsageError,
)
from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.events import Ended, Engine, Loading, Reading, Said
from edgeproxy.serve.settings import Settings
from tests.helpers.clients import until
from tests.helpers.engine_bench import bench, run, wanted
from tests.helpers.told_sessions import RECIPE, Told, ToldLoad


def test_it_is_an_engine() -> None:
    engine: Engine = SharedEngine(ToldLoad(Told()), RECIPE)
    assert engine


# A request


def test_a_request_has_its_events() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.read("Hello", 2, 4)
            it.told.answer("Hello", "Hi")
            client = it.ask("Hello", record=0)
            last = await client.ended()
            assert isinstance(client.events[0], Loading)
            read = [event for event in client.events if isinstance(event, Reading)]
            assert read[-1] == Reading(4, 4, 6)
            assert read[:-1] in ([], [Reading(2, 4)])  # the latest takes the place of others
            rest = [type(e) for e in client.events if not isinstance(e, Loading | Reading)]
            assert rest == [Said, Said, Said, Ended]
            assert client.text == "Hi"
            assert client.places == []
            assert last.finish_reason == "stop"
            assert last.turn.text == "Hi"
            assert last.turn.usage == (10, 6, 2)
            assert last.session is it.engine.keeping.session
            assert it.outcomes == {"stop": 1}
            counts = it.engine.counts
            assert (counts.read, counts.kept, counts.said) == (4, 6, 2)
            assert counts.mean_seconds is not None

    run(work)


def test_what_was_answered_is_gone_at_once() -> None:
    """Cycles would stay until Python looks for them, which under load is late."""

    async def work() -> None:
        async with bench() as it:
            it.told.answer("Hello", "Hi")
            turns = []
            gc.collect()
            gc.disable()
            try:
                async for event in it.engine.ask(wanted("Hello")):
                    if isinstance(event, Ended):
                        turns.append(weakref.ref(event.turn))
                    del event
                await until(lambda: turns[0]() is None)
            finally:
                gc.enable()

    run(work)


def test_what_is_wanted_is_asked() -> None:
    async def work() -> None:
        async with bench(most_tokens=30) as it:
            sampling = Sampling(temperature=0.5)
            await it.answered("plain")
            ways: dict[str, dict[str, Any]] = {
                "all": {"sampling": sampling, "max_tokens": 7, "stops": ("x",), "alpha": 2.0},
                "long": {"max_tokens": 1000, "base_weight": 0.5, "plausibility": 0.1},
                "raw": {"is_raw": True},
                "expert": {"answers": "expert"},
            }
            for text, how in ways.items():
                it.told.answer(text, "a")
                await it.ask(text, **how).ended()
            by_text = {asked.messages[-1].content: (who, asked) for who, asked in it.told.asked}
            (_, plain), (_, whole), (_, long) = (by_text[each] for each in ("plain", "all", "long"))
            assert (plain.max_tokens, plain.is_raw) == (30, False)
            assert (whole.sampling, whole.max_tokens, whole.stops) == (sampling, 7, ("x",))
            assert whole.steering is not None
            assert (whole.steering.alpha, whole.steering.base_weight) == (2.0, 1.0)
            assert long.max_tokens == 30
            assert long.steering is not None
            assert (long.steering.base_weight, long.steering.plausibility) == (0.5, 0.1)
            assert by_text["raw"][1].is_raw
            assert by_text["expert"][0] == "expert"
            assert {who for who, _ in by_text.values()} == {"trio", "expert"}

    run(work)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"alpha": 1.0, "answers": "base"}, "one model alone"),
        ({"alpha": float("nan")}, "alpha"),
        ({"record": -1}, "record"),
        ({"record": 10**9}, "record"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stops": ("",)}, "stop"),
        ({"docs_to": "base"}, "documents"),
        ({"docs_to": "base", "is_raw": True}, "documents"),
    ],
)
def test_what_is_impossible_is_an_error_of_that_request(how: dict[str, Any], match: str) -> None:
    async def work() -> None:
        async with bench() as it:
            error = await it.ask("Hello", **how).failed()
            assert isinstance(error, UsageError)
            assert match in str(error)
            assert await it.answered("next") == "to next"
            assert it.outcomes == {"failed": 1, "stop": 1}

    run(work)


def test_a_failing_reply_is_an_error_after_what_was_said() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.say("Hello", "H")
            it.told.fail("Hello", EngineError("it failed"))
            client = it.ask("Hello")
            assert str(await client.failed()) == "it failed"
            assert client.text == "H"
            assert await it.answered("next") == "to next"

    run(work)


def test_a_bug_of_ours_reaches_the_one_request() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.fail("Hello", KeyError("oops"))
            assert isinstance(await it.ask("Hello").failed(), KeyError)
            it.told.fail("again", StopIteration("odd"))
            assert isinstance(await it.ask("again").failed(), RuntimeError)
            assert await it.answered("next") == "to next"

    run(work)


def test_a_system_without_threads_is_an_error_of_that_request() -> None:
    async def work() -> None:
        async with bench() as it:
            await it.answered("before")

            def start(_thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                error = await it.ask("Hello").failed()
                assert isinstance(error, EngineError)
                assert "threads" in str(error)
                with pytest.raises(EngineError, match="threads"):
                    await it.engine.count(wanted("abc"))
            assert await it.answered("next") == "to next"

    run(work)


@pytest.mark.parametrize(
    "given",
    [
        {"most_waiting": -1},
        {"most_waiting_each": 1.5},
        {"most_tokens": 0},
        {"most_seconds": 0.0},
        {"most_seconds": float("inf")},
        {"most_buffered": 0},
        {"patience": float("nan")},
        {"patience": "long"},
        {"keep_alive": -1.0},
        {"keep_alive": True},
    ],
)
def test_impossible_settings_are_errors(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        Settings(**given)


# Waiting


def test_requests_are_answered_one_after_another_and_hear_their_places() -> None:
    async def work() -> None:
        async with bench() as it:
            first = await it.begun("a1")
            others = {text: it.ask(text, text[0]) for text in ("a2", "a3", "b1")}

            def are_at(places: list[int]) -> bool:
                return [client.places[-1:] for client in others.values()] == [[p] for p in places]

            await until(lambda: are_at([1, 3, 2]))
            assert it.engine.waiting == 3
            assert it.engine.is_busy
            assert it.told.begun == ["a1"]
            for text, left in {"a1": [1, 2, 1], "a2": [1, 2, 1], "b1": [1, 1, 1]}.items():
                it.told.answer(text, f"to {text}")
                await until(partial(are_at, left))
            it.told.answer("a3", "to a3")
            for text, client in {"a1": first, **others}.items():
                await client.ended()
                assert client.text == f"to {text}"
            assert it.told.begun == ["a1", "a2", "b1", "a3"]
            assert first.places == []
            assert others["a2"].places == [1]
            assert others["b1"].places == [2, 1]

    run(work)


def test_too_many_are_refused_and_told_when_to_come_again() -> None:
    async def work() -> None:
        async with bench(most_waiting=2) as it:
            first = await it.begun("first")
            waiting = [it.ask(text) for text in ("second", "third")]
            await until(lambda: it.engine.waiting == 2)
            error = await it.ask("fourth").failed()
            assert isinstance(error, QueueFullError)
            assert error.retry_after == 5  # nothing is known yet
            for text, client in zip(("first", "second", "third"), (first, *waiting), strict=True):
                it.told.answer(text, text)
                await client.ended()
                assert client.text == text
            it.engine.counts.mean_seconds = 7.2
            again = await it.begun("again")
            more = [it.ask(text) for text in ("second", "third")]
            await until(lambda: it.engine.waiting == 2)
            error = await it.ask("fourth").failed()
            assert isinstance(error, QueueFullError)
            assert error.retry_after == 8
            assert it.outcomes == {"stop": 3, "refused": 2}
            for client in (again, *more):
                await client.leave()

    run(work)


def test_nobody_may_wait_with_more_than_allowed_of_their_own() -> None:
    async def work() -> None:
        async with bench(most_waiting_each=1) as it:
            await it.begun("first")
            it.ask("mine", "me")
            await until(lambda: it.engine.waiting == 1)
            error = await it.ask("mine too", "me").failed()
            assert isinstance(error, QueueFullError)
            assert "of your requests" in str(error)
            it.ask("theirs", "you")
            await until(lambda: it.engine.waiting == 2)

    run(work)


def test_with_no_places_one_is_answered_even_where_it_must_be_loaded() -> None:
    async def work() -> None:
        async with bench(most_waiting=0) as it:
            first = await it.begun("first")
            assert isinstance(await it.ask("second").failed(), QueueFullError)
            it.told.answer("first", "a")
            await first.ended()
            assert await it.answered("third") == "to third"

    run(work)


# Leaving


def test_who_leaves_while_waiting_is_forgotten_at_once() -> None:
    async def work() -> None:
        async with bench() as it:
            first = await it.begun("first")
            second, third = it.ask("second"), it.ask("third")
            await until(lambda: third.places == [2])
            await second.leave()
            assert it.engine.waiting == 1
            await until(lambda: third.places == [2, 1])
            it.told.answer("first", "a")
            it.told.answer("third", "b")
            await first.ended()
            await third.ended()
            assert it.told.begun == ["first", "third"]
            assert it.outcomes == {"left": 1, "stop": 2}

    run(work)


@pytest.mark.parametrize("has_said", [False, True])
def test_who_leaves_while_it_is_answered_frees_the_models(has_said: bool) -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.read("first", 1, 4)
            if has_said:
                it.told.say("first", "x")
            client = await it.begun("first")
            await until(
                lambda: any(isinstance(e, Said if has_said else Reading) for e in client.events)
            )
            await client.leave()
            assert await it.answered("next") == "to next"
            assert it.outcomes == {"left": 1, "stop": 1}

    run(work)


def test_who_leaves_between_two_events_leaves_as_well() -> None:
    async def work() -> None:
        async with bench() as it:
            events = it.engine.ask(wanted("first"))
            it.told.say("first", "x")
            async for event in events:
                if isinstance(event, Said):
                    break
            assert it.engine.is_busy
            await events.aclose()
            assert await it.answered("next") == "to next"
            assert it.outcomes == {"left": 1, "stop": 1}

    run(work)


def test_who_never_asked_for_an_event_was_never_here() -> None:
    async def work() -> None:
        async with bench() as it:
            events = it.engine.ask(wanted("first"))
            await events.aclose()
            assert it.load.begun == 0
            assert it.outcomes == {}

    run(work)


def test_who_leaves_after_the_end_has_been_answered() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.answer("first", "ab")
            events = it.engine.ask(wanted("first"))
            async for event in events:
                if isinstance(event, Ended):
                    break
            await events.aclose()
            await until(lambda: not it.engine.is_busy)
            assert it.outcomes == {"stop": 1}

    run(work)


def test_who_leaves_while_models_load_leaves_them_to_others() -> None:
    async def work() -> None:
        async with bench() as it:
            it.load.may_load.clear()
            first, second = it.ask("first"), it.ask("second")
            await until(lambda: any(isinstance(e, Loading) for e in second.events))
            await first.leave()
            assert it.engine.waiting == 1
            it.told.answer("second", "b")
            it.load.may_load.set()
            await second.ended()
            assert second.places == [1, 0]
            assert it.told.begun == ["second"]
            assert it.load.begun == 1

    run(work)


def test_who_leaves_while_a_model_is_made_ready_to_answer_alone_frees_the_engine() -> None:
    async def work() -> None:
        async with bench() as it:
            await it.answered("before")
            it.load.may_solo.clear()
            alone = it.ask("alone", answers="expert")
            await until(lambda: Loading("expert", 0.0) in alone.events)
            await alone.leave()
            assert await it.answered("next") == "to next"
            it.load.may_solo.set()
            it.told.answer("again", "c")
            await it.ask("again", answers="expert").ended()
            assert it.load.solos == ["expert"]
            assert it.outcomes == {"left": 1, "stop": 3}

    run(work)


def test_a_model_that_cannot_answer_alone_is_tried_again() -> None:
    async def work() -> None:
        async with bench() as it:
            await it.answered("before")
            it.load.errors.append(OutOfMemoryError("no room"))
            assert str(await it.ask("alone", answers="base").failed()) == "no room"
            it.told.answer("again", "c")
            await it.ask("again", answers="base").ended()

    run(work)


# Slow clients, and long replies


def test_a_slow_client_does_not_keep_others_waiting() -> None:
    async def work() -> None:
        async with bench() as it:
            events = it.engine.ask(wanted("slow"))
            it.told.answer("slow", "a" * 50)
            assert isinstance(await anext(events), Loading)
            for _ in range(3):
                assert await it.answered("other") == "to other"
            rest = [event async for event in events]
            assert sum(isinstance(event, Said) for event in rest) == 51
            assert isinstance(rest[-1], Ended)

    run(work)


def test_a_client_that_takes_nothing_is_given_up() -> None:
    async def work() -> None:
        async with bench(most_buffered=16, patience=0.05) as it:
            events = it.engine.ask(wanted("stuck"))
            it.told.answer("stuck", "a" * 50)
            await anext(events)
            other = it.ask("other")
            it.told.answer("other", "b")
            await other.ended()
            assert it.outcomes == {"slow": 1, "stop": 1}
            with pytest.raises(TooSlowError, match="taken"):
                [event async for event in events]

    run(work)


def test_a_client_that_takes_nothing_of_a_whole_reply_loses_it() -> None:
    async def work() -> None:
        async with bench() as it:
            events = it.engine.ask(wanted("stuck"))
            await anext(events)
            await until(lambda: it.engine.is_busy)
            assert it.engine._current is not None
            mailbox = it.engine._current.mailbox
            it.told.answer("stuck", "ab")
            await until(lambda: it.outcomes == {"stop": 1})
            mailbox._patience = 0.0
            mailbox._look()
            with pytest.raises(TooSlowError):
                [event async for event in events]
            assert it.outcomes == {"stop": 1}

    run(work)


def test_a_reply_that_takes_too_long_ends_where_it_is() -> None:
    async def work() -> None:
        async with bench() as it:
            it.told.say("long", "x")
            client = await it.begun("long")
            await until(lambda: client.text)
            assert it.engine._current is not None
            it.engine._current.time_up()
            last = await client.ended()
            assert (last.finish_reason, client.text) == ("length", "x")
            said = [event.piece for event in client.events if isinstance(event, Said)]
            assert said[-1].finish_reason == "length"
            assert it.outcomes == {"length": 1}

    run(work)


def test_a_prompt_that_takes_too_long_is_an_error() -> None:
    async def work() -> None:
        async with bench(most_seconds=0.05) as it:
            error = await it.ask("long").failed()
            assert isinstance(error, TooSlowError)
            assert "prompt" in str(error)
            assert it.outcomes == {"slow": 1}

    run(work)
