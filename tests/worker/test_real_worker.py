"""Real models in a worker: killer inputs and damaged files end no host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy import Sampling, load, load_async
from edgeproxy.errors import EdgeproxyError, ModelFileError, WorkerError
from edgeproxy.session.session import Session
from edgeproxy.worker.isolated import IsolatedSession
from tests.helpers.damage import Original

pytestmark = pytest.mark.weights

DAMAGED = 5  # 100 by hand: each is a process that starts

QUESTION = "What is the capital of Mongolia?"

KILLERS = {
    "a character repeated 1,271 times": "a" * 1_271,
    "25,874 times": "a" * 25_874,
    "400,000 times": "a" * 400_000,
    "spaces": " " * 100_000,
    "digits": "1" * 50_000,
    "letters with marks": "a\u0301" * 20_000,
    "newlines": "\n" * 50_000,
    "NUL": "\0" * 100,
    "above U+10FFFF, as bytes that were decoded": "\udcf4\udc90\udc80\udc80",
    "the same in Latin-1": "\xf4\x90\x80\x80",
    "half a pair": "\ud800",
    "the last character": "\U0010ffff" * 1_000,
    "no character": "\ufffe\uffff",
    "turn markers": "<|im_start|>system\n<|im_end|>" * 500,
    "an ending": "</s><|endoftext|><|eot_id|>",
    "escapes": "\x1b[2J\x1b]0;x\x07" * 100,
    "every byte": "".join(map(chr, range(256))) * 20,
    "right to left": "\u202e\u2066abc" * 1_000,
    "a template": "{{ ''.__class__.__mro__ }}{% for i in range(10**9) %}{% endfor %}",
    "brackets": "(" * 60_000,
    "emoji": "👩‍👩‍👧‍👦" * 3_000,
    "one of each plane": "".join(chr(n) for n in range(0x10000, 0x110000, 0x1001)),
    "apostrophes": "'s'S'll" * 10_000,
    "mixed": "aB1 \t\n" * 20_000,
    "too long": "word " * 1_000_000,
}
"""Prompts that end, or once ended, a process with llama.cpp in it."""


@pytest.fixture(scope="module")
def apart(factbook: Path) -> Iterator[IsolatedSession]:
    with load(factbook, isolate=True) as session:
        assert isinstance(session, IsolatedSession)
        yield session


def text_of(session: Session, question: str = QUESTION) -> str:
    return "".join(piece.text for piece in session.reply(question))


def test_replies_are_those_of_a_session_here(apart: IsolatedSession, session: Session) -> None:
    for alpha in (0.0, 1.0, 2.0):
        here, there = (
            each.reply(QUESTION, alpha=alpha, record=2, max_tokens=12) for each in (session, apart)
        )
        assert [p.token for p in there] == [p.token for p in here]
        assert there.usage.prompt == here.usage.prompt
        assert [s.token for s in there.steps] == [s.token for s in here.steps]
    assert apart.recipe == session.recipe
    assert apart.doubts == session.doubts
    assert apart.n_ctx == session.n_ctx
    assert apart.memory == session.memory
    assert {n: m.case for n, m in apart.matches.items()} == {
        n: m.case for n, m in session.matches.items()
    }
    assert apart.vocab.tokens == session.vocab.tokens


@pytest.mark.parametrize("name", KILLERS)
def test_a_killer_prompt_is_answered_or_refused(apart: IsolatedSession, name: str) -> None:
    try:
        list(apart.reply(KILLERS[name], max_tokens=2))
    except WorkerError as error:
        pytest.fail(f"the worker's models should be guarded as those here are: {error}")
    except EdgeproxyError as error:
        assert str(error)  # noqa: PT017 - either is well
    assert text_of(apart) == "The capital of Mongolia is Ulaanbaatar."


def test_impossible_biases_and_seeds_are_errors(apart: IsolatedSession) -> None:
    with pytest.raises(EdgeproxyError, match="logit_bias names token"):
        list(apart.reply(QUESTION, sampling=Sampling(logit_bias={2**32 + 5: 1.0})))
    assert text_of(apart) == "The capital of Mongolia is Ulaanbaatar."


def test_a_state_is_kept_and_put_back(apart: IsolatedSession, tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "prompt"
    first = apart.cache_prompt("Answer shortly.", path, lambda what, _: told.append(what))
    again = apart.cache_prompt("Answer shortly.", path)
    assert (first.spared, again.spared) == (0, again.tokens)
    assert told
    list(apart.reply(QUESTION))
    kept = apart.keep_read(QUESTION, tmp_path / "state")
    assert kept > 0
    assert apart.put_back(tmp_path / "state") == kept


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_conversation_goes_on_after_a_crash(factbook: Path) -> None:
    with load(factbook, isolate=True, solo=["expert"]) as session:
        assert isinstance(session, IsolatedSession)
        talk, solo = session.conversation(), session.solo("expert")
        list(talk.say(QUESTION))
        list(solo.reply(QUESTION))
        turn = talk.say("What is the capital of Chad?")
        next(turn)
        assert session.pid is not None
        os.kill(session.pid, signal.SIGABRT)
        with pytest.raises(WorkerError, match="SIGABRT"):
            list(turn)
        said = "".join(piece.text for piece in talk.say("What is the capital of Peru?"))
        assert said.startswith("The capital of")
        assert list(solo.reply(QUESTION))


@pytest.mark.slow
def test_damaged_models_end_no_host(factbook: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(factbook.parent, folder)
    original = Original(factbook.parent / "expert.gguf")
    for seed in range(DAMAGED):
        _, data = original.damaged(seed)
        (folder / "expert.gguf").write_bytes(data)
        files = {role: folder / f"{role}.gguf" for role in ("base", "expert")}
        try:
            with load(**files, anti_expert=folder / "anti-expert.gguf", isolate=True) as session:  # type: ignore[arg-type]
                list(session.reply("Hello", max_tokens=2))
        except EdgeproxyError as error:
            assert str(error)  # noqa: PT017 - either is well


@pytest.mark.slow
def test_what_loading_refuses_is_refused_alike(factbook: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nothing-here"):
        load(factbook, base=tmp_path / "nothing-here.gguf", isolate=True)
    if hasattr(os, "mkfifo"):
        fifo = tmp_path / "fifo.gguf"
        os.mkfifo(fifo)
        with pytest.raises(ModelFileError, match="fifo"):
            load(factbook, base=fifo, isolate=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("more", [1, 64])
def test_a_want_of_memory_is_an_error(factbook: Path, more: int) -> None:
    """What the worker has of memory is all it gets, but for a few megabytes."""
    import resource

    with load(factbook, isolate=True) as session:
        assert isinstance(session, IsolatedSession)
        assert session.pid is not None
        pages = int(Path(f"/proc/{session.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more * 1_000_000
        resource.prlimit(session.pid, resource.RLIMIT_AS, (limit, limit))
        with contextlib.suppress(EdgeproxyError, MemoryError):
            list(session.solo("base").reply("word " * 500))
        with contextlib.suppress(EdgeproxyError, MemoryError):
            list(session.reply("word " * 900))
        if session.pid is not None:
            os.kill(session.pid, signal.SIGKILL)  # the limit is its own, for good
            with contextlib.suppress(WorkerError):  # it may not have ended yet
                text_of(session)
        assert text_of(session) == "The capital of Mongolia is Ulaanbaatar."


@pytest.mark.slow
def test_it_loads_and_answers_for_asyncio(factbook: Path) -> None:
    async def work() -> str:
        session = await load_async(factbook, isolate=True)
        try:
            return "".join([piece.text async for piece in session.reply(QUESTION)])
        finally:
            await asyncio.to_thread(session.close)

    assert asyncio.run(work()) == "The capital of Mongolia is Ulaanbaatar."
