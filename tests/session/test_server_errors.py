"""A trio whose base is on a server: what goes wrong is said, and what comes next is right."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import (
    ContextFullError,
    EdgeproxyError,
    EngineError,
    LogitsError,
    RemoteError,
    RemoteRefusedError,
    UsageError,
)
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.manifest import to_toml
from tests.helpers.fake_server import Reply, Request
from tests.helpers.fakes import FakeModel, Fault, fake_vocab, noise, shuffled
from tests.helpers.gguf_files import OTHER_MERGES
from tests.helpers.served_trios import (
    LENGTH,
    QUESTION,
    Files,
    Served,
    elsewhere,
    served_file,
    speaking,
    text_of,
    tokens_of,
    write_trio,
)

SECRET = "a-secret-of-the-server"
LONGEST = 15.0
"""Seconds that ending a request may take here at most, where its answer would take 20."""


# What goes wrong


def failing(served: Served, nth: int, how: Reply) -> None:
    """Let the n-th prediction from now fail."""
    count, answer = 0, served.serving.answer

    def answering(request: Request) -> object:
        nonlocal count
        is_one = request.method == "POST"
        count += is_one
        return how if is_one and count == nth else answer(request)

    served.server.answer = answering


@pytest.mark.parametrize("way", ["rows", "bias"])
@pytest.mark.parametrize("nth", [1, 2, 5])
@pytest.mark.parametrize(
    "how",
    [Reply(400, {"error": {"message": "no"}}), Reply(value={}), Reply(500), Reply(body=b"<html>")],
    ids=["refused", "nonsense", "failed", "markup"],
)
def test_after_an_error_the_next_reply_is_right(
    files: Files, here: Session, way: str, nth: int, how: Reply
) -> None:
    wanted = tokens_of(here)
    with served_file(files["base"]) as served, elsewhere(files, served, way) as session:
        text_of(session, "Before?", max_tokens=3)
        failing(served, nth, how)
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        with pytest.raises(RemoteError) as failed:
            list(turn)
        assert served.url in str(failed.value)
        assert turn.finish_reason is None
        assert len({model.n_past for model in session.trio.models}) == 1
        assert tokens_of(session) == wanted


def test_a_text_that_is_too_long_for_the_server_says_so(files: Files) -> None:
    full = Reply(400, {"error": {"message": "exceeds", "type": "exceed_context_size_error"}})
    with served_file(files["base"]) as served, elsewhere(files, served) as session:
        failing(served, 1, full)
        with pytest.raises(ContextFullError):
            text_of(session)
        failing(served, 3, full)
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        list(turn)
        assert turn.finish_reason == "context"


def test_a_context_that_is_the_servers(files: Files) -> None:
    with served_file(files["base"]) as served:
        with elsewhere(files, served, n_ctx=20) as session:
            assert session.speaker.n_ctx == 20
            turn = session.reply(QUESTION, max_tokens=50)
            list(turn)
            assert turn.finish_reason == "context"
        with elsewhere(files, served, n_ctx=2048) as session:
            assert session.speaker.n_ctx == 255  # the server has no more, bar room for a token


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_a_cancel_ends_a_reply_and_the_next_one_is_right(
    files: Files, here: Session, way: str
) -> None:
    wanted = tokens_of(here)
    with served_file(files["base"]) as served, elsewhere(files, served, way) as session:
        came = threading.Event()
        answer = served.serving.answer

        def answering(request: Request) -> object:
            if len(served.serving.prompts) - before < 3:
                return answer(request)
            came.set()
            return Reply(delay=60.0)

        before = len(served.serving.prompts)
        served.server.answer = answering

        def cancel() -> None:
            came.wait(30)
            session.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        pieces = list(turn)
        thread.join()
        assert turn.finish_reason == "cancelled"
        assert pieces[-1].token is None
        assert served.server.requests[-1].left.wait(10)  # the server learns that nobody waits
        served.server.answer = answer
        assert tokens_of(session) == wanted


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LogitsError("no numbers")])
def test_a_server_is_not_waited_for_once_the_pair_has_failed(error: BaseException) -> None:
    vocab = fake_vocab()
    base, expert, anti_expert = (FakeModel(noise(n, vocab), vocab=vocab) for n in range(3))
    with speaking(base, expert, anti_expert, vocab=vocab) as each:
        wanted = each.ask(QUESTION, max_tokens=5)
        server = each.served.server
        server.answer = lambda _: Reply(delay=60.0)
        expert.fail_on(1, Fault(error))
        began = time.monotonic()
        with pytest.raises(type(error)):
            each.ask("Another?")
        assert time.monotonic() - began < LONGEST
        assert [model.n_past for model in each.speaker.trio.models].count(0) in (0, 3)
        server.answer = each.served.serving.answer
        assert each.ask(QUESTION, max_tokens=5) == wanted


def test_a_cancel_while_it_loads(files: Files) -> None:
    cancel = Flag()
    with served_file(files["base"]) as served:

        def answering(_: Request) -> object:
            cancel.set()
            return Reply(delay=60.0)

        served.server.answer = answering
        with pytest.raises(EdgeproxyError, match="cancelled"):
            elsewhere(files, served, cancel=cancel)


def test_a_server_that_serves_another_model_in_mid_reply_is_noticed(files: Files) -> None:
    with served_file(files["base"]) as served, elsewhere(files, served) as session:
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        next(turn)
        other, _ = shuffled(served.serving.vocab, 2)
        served.serving.serve(FakeModel(noise(5, other), vocab=other))
        with pytest.raises(RemoteError, match=r"another model|completion_probabilities"):
            list(turn)


def test_a_tokenizer_of_another_model_is_refused(files: Files, tmp_path: Path) -> None:
    other = write_trio(tmp_path, OTHER_MERGES)
    with (
        served_file(files["base"]) as served,
        pytest.raises(RemoteError, match="other tokens of a text"),
    ):
        elsewhere({**files, "base": other["expert"]}, served)


def test_a_closed_session_asks_nothing(files: Files, llama: Served) -> None:
    session = elsewhere(files, llama)
    session.close()
    session.close()
    before = len(llama.server.requests)
    with pytest.raises(EngineError, match="closed"):
        text_of(session)
    assert len(llama.server.requests) == before


# Before weights are loaded


@pytest.mark.parametrize(
    ("server", "match"),
    [
        ({"key_env": "EDGEPROXY_NO_SUCH_KEY"}, "'EDGEPROXY_NO_SUCH_KEY' is not set"),
        ({"url": "http://192.0.2.1"}, "over plain http"),
        ({"key_file": Path("no-such-file.key")}, "cannot be read"),
    ],
)
def test_what_is_wrong_by_itself_is_said_before_any_file_is_opened(
    server: Any, match: str, tmp_path: Path
) -> None:
    missing: Files = {role: tmp_path / f"{role}.gguf" for role in ("base", "expert", "anti_expert")}
    server = {"url": "http://127.0.0.1:9"} | server
    with pytest.raises(UsageError, match=match):
        load(**missing, server=server)


# Its key


def test_a_key_is_in_nothing_that_is_shown(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGEPROXY_TEST_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    with (
        served_file(files["base"], key=SECRET) as served,
        elsewhere(files, served, server={"key_env": "EDGEPROXY_TEST_KEY"}) as session,
    ):
        turn = session.reply(QUESTION, max_tokens=3)
        list(turn)
        assert {r.headers["authorization"] for r in served.server.requests} == {f"Bearer {SECRET}"}
        said = {"error": {"message": f"Bearer {SECRET} and {SECRET}"}}
        errors = []
        for how in (Reply(400, said), Reply(500, said), Reply(401, said), Reply(value=said)):
            failing(served, 1, how)
            with pytest.raises(RemoteError) as failed:
                text_of(session)
            errors.append(f"{failed.value} {failed.value!r} {failed.value.__dict__}")
        base = session.speaker.remote
        assert base is not None
        shown = [
            *errors,
            *map(repr, (session, session.recipe, turn, turn.stats, base, base.server)),
            *map(repr, (base.server.offer, base.origin(), base.__dict__, base.server.__dict__)),
            to_toml(session.recipe),
            caplog.text,
        ]
        assert not [text for text in shown if SECRET in text]
        served.serving.key = "another"
        with pytest.raises(RemoteRefusedError, match="refuses the key") as refused:
            elsewhere(files, served, server={"key_env": "EDGEPROXY_TEST_KEY"})
        assert SECRET not in str(refused.value)
