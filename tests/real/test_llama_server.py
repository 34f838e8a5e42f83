"""The factbook's base behind a real llama-server, against the same base here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import edgeproxy
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import RemoteError
from edgeproxy.measure.answering import Answering, Ask
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.lanes import lanes_of
from edgeproxy.remote.endpoint import ServerChange
from edgeproxy.session.session import Session
from tools.servers.compare import Reply, Tried, try_way, ways
from tools.servers.serve import Running, free_port, llama_server

pytestmark = [pytest.mark.weights, pytest.mark.slow]

QUESTION = "What is the capital of Chad?"
ANSWER = "The capital of Chad is N'Djamena."


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[Question]:
    return list(read_questions(factbook.parent / "questions.jsonl"))[:200]


@pytest.fixture(scope="module")
def server(llama_server_program: Path, factbook: Path) -> Iterator[Running]:
    with _serving(llama_server_program, factbook) as running:
        yield running


def _serving(
    program: Path, factbook: Path, port: int = 0, parallel: int = 1
) -> AbstractContextManager[Running]:
    # Without flash attention, as edgeproxy evaluates.
    options = ("--flash-attn", "off")
    base = factbook.parent / "base.gguf"
    return llama_server(program, base, ctx=1024, port=port, parallel=parallel, arguments=options)


def ask(
    factbook: Path, questions: list[Question], way: str, server: ServerChange | None
) -> tuple[Tried, list[Reply]]:
    return try_way(str(factbook), questions, way, server, "auto", lambda _: None)


@pytest.fixture(scope="module")
def here(factbook: Path, questions: list[Question]) -> tuple[Tried, list[Reply]]:
    return ask(factbook, questions, "here", None)


@pytest.mark.parametrize(
    ("way", "count", "same"),
    [("rows", 30, 30), ("rows, the 200 best", 200, 198), ("bias", 200, 198)],
)
def test_the_text_is_that_of_the_base_here(
    factbook: Path,
    questions: list[Question],
    server: Running,
    here: tuple[Tried, list[Reply]],
    way: str,
    count: int,
    same: int,
) -> None:
    change, _ = ways(server.url, {})[way]
    tried, said = ask(factbook, questions[:count], way, change)
    assert sum(a.text == b.text for a, b in zip(said, here[1], strict=False)) >= same
    if way == "rows, the 200 best":
        assert tried.requests <= 0.5 * tried.tokens


def test_twenty_log_probabilities_answer_as_well(
    factbook: Path, questions: list[Question], server: Running, here: tuple[Tried, list[Reply]]
) -> None:
    change, _ = ways(server.url, {})["top-k, 20"]
    tried, _texts = ask(factbook, questions, "top-k, 20", change)
    assert abs(tried.right - here[0].right) <= 0.02 * len(questions)
    assert tried.coverage is not None
    assert 0.7 < tried.coverage < 1.0


def test_four_questions_at_once_of_four_slots(
    llama_server_program: Path, factbook: Path, questions: list[Question]
) -> None:
    """Their batches round otherwise than one slot's do, so that a text may be another one."""
    asked, systems = questions[:40], ("base", "proxy")
    answered = []
    with _serving(llama_server_program, factbook, parallel=4) as running:
        for at_once in (4, 1):
            with edgeproxy.load(factbook, server={"url": running.url}) as session:
                assert lanes_of(session, None, None, needs_trio=True) == 4
                work = Answering(session, systems, asked, Ask(Sampling()), at_once=at_once)
                answered.append(work.run(1))
    for system in systems:
        pairs = zip(*(replies[system] for replies in answered), strict=True)
        assert sum(a == b for a, b in pairs) >= 38


def answer(session: Session) -> str:
    return "".join(piece.text for piece in session.reply(QUESTION))


def test_a_server_that_is_killed_and_started_again(
    llama_server_program: Path, factbook: Path
) -> None:
    port = free_port()
    with _serving(llama_server_program, factbook, port) as running:
        session = edgeproxy.load(factbook, server={"url": running.url})
        turn = session.reply("Where is Chad?", max_tokens=40)
        next(turn)
    with session:
        with pytest.raises(RemoteError, match="nothing listens"):
            answer(session)
        with _serving(llama_server_program, factbook, port):
            assert answer(session) == ANSWER


def test_a_server_of_another_model_is_noticed(
    llama_server_program: Path, factbook: Path, smollm2: Path
) -> None:
    with (
        llama_server(llama_server_program, smollm2, ctx=256) as running,
        pytest.raises(RemoteError, match="other tokens of a text"),
    ):
        edgeproxy.load(factbook, server={"url": running.url})
