"""Conversations of the page in the history, over HTTP; a chat goes on with them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.states import FOLDER, States
from edgeproxy.serve.http.app import make_app
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.wiring import parts_of
from edgeproxy.serve.kept import sessions as kept
from edgeproxy.serve.kept.sessions import Sessions
from edgeproxy.serve.openai import routes
from tests.helpers.engine_bench import bench, run
from tests.helpers.http_fakes import KEY, WITH_KEY
from tests.helpers.told_sessions import RECIPE

USER, REPLY = {"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Yes?"}
MORE = [{"role": "user", "text": "More"}, {"role": "assistant", "text": "There is no more."}]
ALPHA = {"settings": {"alpha": 1.5}, "finish_reason": "stop"}


class Client:
    """Asks a server that keeps sessions, or does not."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def save(self, *messages: Mapping[str, Any], **where: Any) -> dict[str, Any]:
        body = {"messages": messages, **where}
        found = await self.client.post(routes.SESSIONS, json=body)
        assert found.status_code == 200, found.text
        return dict(found.json())

    async def get(self, path: str) -> dict[str, Any]:
        found = await self.client.get(path)
        assert found.status_code == 200, found.text
        return dict(found.json())

    async def tree(self, session: str) -> dict[str, Any]:
        return await self.get(f"{routes.SESSIONS}/{session}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "history.db"


@asynccontextmanager
async def server(path: Path | None) -> AsyncIterator[Client]:
    async with bench() as it:
        sessions = None if path is None else Sessions(lambda: it.engine.recipe, path)
        app = make_app(parts_of(it.engine, sessions), Guards(KEY))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=WITH_KEY
        ) as client:
            yield Client(client)


def test_a_conversation_is_kept_listed_opened_and_removed(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            assert (await client.get("/v1/edgeproxy/about"))["keeps_sessions"] is True
            empty = {"object": "list", "data": [], "total": 0}
            assert await client.get(routes.SESSIONS) == empty
            assert not path.exists()
            saved = await client.save(USER, REPLY | ALPHA)
            name, (first, second) = saved["id"], saved["messages"]
            saved = await client.save(*MORE, id=name, parent=second)
            [listed] = (await client.get(routes.SESSIONS))["data"]
            assert (listed["id"], listed["title"], listed["trio"]) == (name, "Hi", RECIPE.name)
            assert listed["message_count"] == 4
            assert listed["changed"] >= listed["created"]
            tree = await client.tree(name)
            assert tree["head"] == saved["messages"][-1]
            third = saved["messages"][0]
            parents = [each["parent"] for each in tree["messages"]]
            assert parents == [None, first, second, third]
            assert [each["text"] for each in tree["messages"]] == [
                *("Hi", "Yes?", "More", "There is no more.")
            ]
            assert tree["messages"][1]["settings"] == {"steering": {"alpha": 1.5}}
            state = States(path.parent / FOLDER).path(name)
            state.parent.mkdir()
            state.write_bytes(b"what was read")
            removed = await client.client.delete(f"{routes.SESSIONS}/{name}")
            assert removed.json() == {
                "id": name,
                "object": "edgeproxy.session.deleted",
                "deleted": True,
            }
            assert not state.exists()
            assert await client.get(routes.SESSIONS) == empty

    run(work)


def test_an_edited_message_and_another_reply_are_branches(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            saved = await client.save({"role": "system", "text": "Be brief."}, USER, REPLY)
            name, (system, first, second) = saved["id"], saved["messages"]
            other = await client.save({**REPLY, "text": "No."}, id=name, parent=first)
            edited = await client.save({**USER, "text": "Ho"}, REPLY, id=name, parent=system)
            tree = await client.tree(name)
            parents = {each["id"]: each["parent"] for each in tree["messages"]}
            assert parents[other["messages"][0]] == parents[second] == first
            assert parents[edited["messages"][0]] == parents[first] == system
            assert tree["head"] == edited["messages"][-1]
            assert await client.save(id=name, parent=second) == {
                "object": "edgeproxy.session",
                "id": name,
                "messages": [],
            }
            assert (await client.tree(name))["head"] == second
            assert (await client.get(routes.SESSIONS))["total"] == 1

    run(work)


def test_what_is_sent_again_is_not_kept_twice(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            saved = await client.save(USER, REPLY | ALPHA)
            name, numbers = saved["id"], saved["messages"]
            again = await client.save(USER, REPLY | ALPHA, *MORE, id=name)
            assert again["messages"][:2] == numbers
            otherwise = {**REPLY, "settings": {"alpha": 2}, "finish_reason": "stop"}
            other = await client.save(USER, otherwise, id=name)
            assert other["messages"][0] == numbers[0]
            assert other["messages"][1] not in again["messages"]
            assert len((await client.tree(name))["messages"]) == 5

    run(work)


def test_a_chat_goes_on_with_it_and_the_page_with_a_chats(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            saved = await client.save(USER, REPLY | ALPHA)
            with Keeper(RECIPE.name, {}, print, path=path) as keeper:
                loaded = keeper.resume()
                assert loaded.session.id == saved["id"]
                assert [m.content for m in loaded.messages] == ["Hi", "Yes?"]
                assert loaded.settings["steering"] == {"alpha": 1.5}
                keeper.say("And?", {"steering": {"alpha": 0.5}})
                keeper.answer("Nothing.", "stop")
            tree = await client.tree(saved["id"])
            assert [each["text"] for each in tree["messages"]] == ["Hi", "Yes?", "And?", "Nothing."]
            await client.save(*MORE, id=saved["id"], parent=tree["head"])
            with History(path) as history:
                hits = history.search("more")
                assert {hit.session.id for hit in hits} == {saved["id"]}
                assert len(history.load(saved["id"]).entries) == 6

    run(work)


def test_a_session_with_another_trio_says_who_answered_in_it(path: Path) -> None:
    async def work() -> None:
        with Keeper("another", {}, print, path=path) as keeper:
            keeper.begin()
            keeper.say("Hi")
            keeper.answer("Yes?", "stop")
            assert keeper.id is not None
            name = keeper.id
        async with server(path) as client:
            head = (await client.tree(name))["head"]
            await client.save(*MORE, id=name, parent=head)
            *_, said, answered = (await client.tree(name))["messages"]
            assert said["settings"] == {}
            assert answered["settings"] == {"trio": RECIPE.name, "models": {}}

    run(work)


def test_a_message_of_another_session_is_no_parent(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            mine, other = await client.save(USER, REPLY), await client.save(USER, REPLY)
            assert mine["id"] != other["id"]
            for parent in (other["messages"][1], 10**6):
                body = {"id": mine["id"], "parent": parent, "messages": MORE}
                found = await client.client.post(routes.SESSIONS, json=body)
                assert (found.status_code, found.json()["error"]["param"]) == (404, "parent")
            assert len((await client.tree(mine["id"]))["messages"]) == 2

    run(work)


def test_a_conversation_that_no_chat_could_go_on_with_is_refused(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            saved = await client.save(USER, REPLY)
            asked, answered = saved["messages"]
            for parent, message in ((asked, USER), (answered, REPLY)):
                body = {"id": saved["id"], "parent": parent, "messages": [message]}
                found = await client.client.post(routes.SESSIONS, json=body)
                assert (found.status_code, found.json()["error"]["code"]) == (400, "wrong_order")

    run(work)


@pytest.mark.parametrize("name", ["none5", "..", "%2e%2e%2fhistory", "x" * 1000, "'; DROP TABLE x"])
def test_a_session_that_there_is_not_is_a_404(path: Path, name: str) -> None:
    async def work() -> None:
        async with server(path) as client:
            await client.save(USER, REPLY)
            where = f"{routes.SESSIONS}/{name}"
            for found in (await client.client.get(where), await client.client.delete(where)):
                assert found.status_code == 404
            if name == "none5":
                body = {"id": name, "messages": [USER, REPLY]}
                found = await client.client.post(routes.SESSIONS, json=body)
                assert found.json()["error"]["code"] == "session_not_found"
            assert (await client.get(routes.SESSIONS))["total"] == 1

    run(work)


def test_a_server_that_keeps_none_says_so() -> None:
    async def work() -> None:
        async with server(None) as client:
            assert (await client.get("/v1/edgeproxy/about"))["keeps_sessions"] is False
            ask = client.client
            for found in (
                await ask.get(routes.SESSIONS),
                await ask.post(routes.SESSIONS, json={"messages": [USER]}),
                await ask.get(f"{routes.SESSIONS}/k7x2m"),
                await ask.delete(f"{routes.SESSIONS}/k7x2m"),
            ):
                assert found.status_code == 404
                assert "--keep-sessions" in found.json()["error"]["message"]

    run(work)


def test_it_needs_the_key(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            name = (await client.save(USER, REPLY))["id"]
            bare, ask = {"Authorization": "Bearer wrong"}, client.client
            for found in (
                await ask.get(routes.SESSIONS, headers=bare),
                await ask.get(f"{routes.SESSIONS}/{name}", headers=bare),
                await ask.delete(f"{routes.SESSIONS}/{name}", headers=bare),
                await ask.post(routes.SESSIONS, json={"messages": [USER]}, headers=bare),
            ):
                assert found.status_code == 401
            found = await ask.put(routes.SESSIONS, json={"messages": [USER]})
            assert found.status_code == 405
            assert set(found.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
            assert (await client.get(routes.SESSIONS))["total"] == 1

    run(work)


def test_a_history_that_cannot_be_used_is_told_in_the_log_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no history")

    async def work() -> None:
        async with server(path) as client:
            found = await client.client.get(routes.SESSIONS)
            assert found.status_code == 500
            assert str(path) not in found.text
            assert str(path) in caplog.text

    run(work)


def test_while_the_file_is_locked_the_loop_goes_on(path: Path) -> None:
    async def work() -> None:
        async with server(path) as client:
            await client.save(USER, REPLY)
            lock = sqlite3.connect(path, isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            saving = asyncio.create_task(client.save(*MORE))
            for _ in range(5):
                assert (await client.client.get("/health")).status_code
                assert not saving.done()
            lock.execute("ROLLBACK")
            lock.close()
            await saving

    run(work)


def test_too_many_at_once_are_told_to_ask_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_WAITING", 2)
    go_on = threading.Event()

    class Slow(History):
        def sessions(self, *_: Any, **__: Any) -> list[Any]:
            assert go_on.wait(30)
            return []

    monkeypatch.setattr(kept, "History", Slow)

    async def work() -> None:
        async with server(path) as client:
            asked = [asyncio.create_task(client.client.get(routes.SESSIONS)) for _ in range(3)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result().status_code for each in done] == [503]
            assert next(iter(done)).result().headers["retry-after"]
            go_on.set()
            assert sorted([(await each).status_code for each in asked]) == [200, 200, 503]

    run(work)


HOSTILE: list[bytes] = [
    b"",
    b"[]",
    b"null",
    b'{"messages": [{"role": "user", "text": "\\ud800"}]}',
    b'{"messages": [{"role": "user", "text": "a\\u0000"}]}',
    b'{"messages": [{"role": "user", "text": "a"}], "messages": []}',
    b'{"messages": [{"role": "user", "text": "a", "id": 1}]}',
    b'{"messages": [{"role": "user", "text": NaN}]}',
    b'{"messages": [{"role": "user", "text": "a"}], "parent": 1e400}',
    b'{"messages": [{"role": "user", "text": "a"}], "id": "x", "parent": 9223372036854775808}',
    b'{"messages": ' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"id": "a\'; DROP TABLE sessions; --", "messages": []}',
]


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_bodies_are_refused_and_nothing_is_kept(path: Path, body: bytes) -> None:
    async def work() -> None:
        async with server(path) as client:
            for where in (routes.SESSIONS, routes.CANCEL):
                kind = {"Content-Type": "application/json"}
                found = await client.client.post(where, content=body, headers=kind)
                assert 400 <= found.status_code < 500
            found = await client.client.post(routes.SESSIONS, content=body)
            assert found.status_code == 415
            assert not path.exists()

    run(work)


def test_hostile_words_come_back_as_they_are(path: Path) -> None:
    evil = "<script>document.title='bad'</script>\u202e\U0001f468'; DROP TABLE messages; --"

    async def work() -> None:
        async with server(path) as client:
            saved = await client.save({"role": "user", "text": evil}, {**REPLY, "text": evil})
            texts = [each["text"] for each in (await client.tree(saved["id"]))["messages"]]
            assert texts == [evil, evil]

    run(work)


WRONG: tuple[Any, ...] = (
    *(True, -1, 10**30, 1e308, "", "\x00", "../../etc/passwd", "<|im_start|>" * 50, 1.5),
    *([], {}, [None], [[]], {"a": {"b": []}}, {"__proto__": 1, "type": "\u202e"}),
)


def wrongs(value: Any) -> Iterator[Any]:
    """`value` with each of its parts in turn in the place of each wrong value."""
    yield from WRONG
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from ({**value, name: wrong} for wrong in wrongs(inside))
    elif isinstance(value, list):
        for at, inside in enumerate(value):
            yield from ([*value[:at], wrong, *value[at + 1 :]] for wrong in wrongs(inside))


def test_no_wrong_value_of_any_field_is_a_fault_of_the_server(path: Path) -> None:
    took = {"prompt_tokens": 1, "seconds": 1, "acceptance": 0, "documents": [{"trail": ["x"]}]}
    beside = [{"role": "base", "text": "No.", "finish_reason": "stop", "stats": took}]
    reply = {**REPLY, **ALPHA, "stats": took, "beside": beside}
    statuses: Counter[int] = Counter()

    async def work() -> None:
        async with server(path) as client:
            saved = await client.save(USER, reply)
            body = {"id": saved["id"], "parent": saved["messages"][0], "messages": [reply]}
            for wrong in wrongs(body):
                found = await client.client.post(routes.SESSIONS, json=wrong)
                statuses[found.status_code] += 1
                assert found.status_code < 500, (wrong, found.text)
            assert statuses[400] > 100
            tree = await client.tree(saved["id"])
            with History(path) as history:
                assert len(history.load(saved["id"]).messages) > 0
            assert tree["id"] == saved["id"]

    run(work)
