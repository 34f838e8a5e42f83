"""SmolLM2 behind a real vLLM, against the same numbers here; where EDGEPROXY_VLLM names a folder.

It starts in minutes on a slow machine, and is no part of what CI does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast

import pytest

import edgeproxy
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError
from edgeproxy.llama import Weights
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.remote.connect import connect
from edgeproxy.remote.endpoint import Endpoint, ServerChange
from edgeproxy.remote.predicts import Draws, Predicts
from edgeproxy.remote.transport import Server
from tests.helpers.near import assert_same_reply, rows_of
from tools.servers.compare import try_way, ways
from tools.servers.environment import set_up_vllm
from tools.servers.serve import vllm_server
from tools.servers.weights import write_floats, write_served

pytestmark = [pytest.mark.weights, pytest.mark.slow]

CTX = 256
LENGTH = 40
NEAR_BFLOAT16 = 0.5
"""Nats by which logits that vLLM computes in bfloat16 may differ from those of llama.cpp."""
MANIFEST = """\
name = "smollm2"
[base]
file = "base.gguf"
prompt = "chatml"
[expert]
file = "expert.gguf"
prompt = "chatml"
[anti_expert]
file = "anti_expert.gguf"
prompt = "plain"
"""


class Served(NamedTuple):
    """A server, the GGUF file of what it serves, and the quantised file that both come from."""

    url: str
    floats: Path
    quantised: Path


@pytest.fixture(scope="module")
def served(vllm_folder: Path, smollm2: Path) -> Iterator[Served]:
    work = Working()
    environment = set_up_vllm(vllm_folder, work)
    model = write_served(environment, smollm2, vllm_folder, work)
    floats = vllm_folder / f"{smollm2.stem}.F32.gguf"
    if not floats.is_file():
        write_floats(smollm2, floats, work)
    with vllm_server(environment, model, ctx=CTX) as running:
        yield Served(running.url, floats, smollm2)


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[Question]:
    return list(read_questions(factbook.parent / "questions.jsonl"))[:8]


@pytest.fixture(scope="module")
def projected(served: Served, factbook: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trio whose pair has a tokenizer of its own."""
    pair = factbook.parent / "expert.gguf", factbook.parent / "anti-expert.gguf"
    return _trio(tmp_path_factory.mktemp("projected"), served.floats, *pair)


@pytest.fixture(scope="module")
def alike(served: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trio of one vocabulary; its pair is one model that reads two prompts."""
    pair = served.quantised, served.quantised
    return _trio(tmp_path_factory.mktemp("alike"), served.floats, *pair)


def _trio(folder: Path, base: Path, expert: Path, anti_expert: Path) -> str:
    roles = {"base": base, "expert": expert, "anti_expert": anti_expert}
    for role, file in roles.items():
        (folder / f"{role}.gguf").symlink_to(file)  # a manifest's files are beside it
    path = folder / "trio.toml"
    path.write_text(MANIFEST)
    return str(path)


def said(
    trio: str, questions: list[Question], way: str, server: ServerChange | None
) -> tuple[float, list[str]]:
    """Requests a token, and the replies."""
    tried, replies = try_way(trio, questions, way, server, "auto", lambda _: None)
    return tried.requests / tried.tokens, [reply.text for reply in replies]


@pytest.mark.parametrize(
    ("way", "same"),
    # A bias is exact only for what the pair finds likely, and here the base likes other tokens.
    [("rows, the 200 best", 6), ("top-k, 20", 5), ("bias", 0)],
)
def test_a_pair_of_another_tokenizer(
    projected: str, questions: list[Question], served: Served, way: str, same: int
) -> None:
    _, here = said(projected, questions, "here", None)
    requests, texts = said(projected, questions, way, ways(served.url, {})[way][0])
    assert sum(a == b for a, b in zip(here, texts, strict=True)) >= same
    assert all(texts)
    # One for each token, and one for each that was in doubt.
    assert requests == 1 if way == "bias" else 1 <= requests < 1.25


@pytest.mark.parametrize("way", ["rows", "rows, the 200 best"])
def test_a_pair_of_the_same_vocabulary(
    alike: str, questions: list[Question], served: Served, way: str
) -> None:
    """Replies part from those here only where two tokens are as good as each other."""
    asked = questions[:2] if way == "rows" else questions
    server, count = ways(served.url, {})[way][0], 0
    with edgeproxy.load(alike) as here, edgeproxy.load(alike, server=server) as there:
        for question in asked:
            wanted, found = (
                [piece.token for piece in session.reply(question.text, max_tokens=LENGTH)]
                for session in (here, there)
            )
            assert None not in found
            count += len(found)
            assert_same_reply(
                cast("list[int]", found),
                cast("list[int]", wanted),
                rows_of(here, question.text),
                NEAR_BFLOAT16,
            )
        assert there.spent is not None
        assert there.spent.requests < count


def test_a_bias_says_mostly_the_same(alike: str, questions: list[Question], served: Served) -> None:
    _, here = said(alike, questions, "here", None)
    _, texts = said(alike, questions, "bias", ways(served.url, {})["bias"][0])
    assert sum(a == b for a, b in zip(here, texts, strict=True)) >= 3


@pytest.fixture(scope="module")
def server(served: Served, vocab: Vocab) -> Iterator[Predicts]:
    found = connect(Endpoint(served.url, logprobs=10**7), Server(served.url), vocab)
    assert (found.way, found.k) == ("rows", len(vocab))
    with closing(found.server):
        yield found.server


@pytest.fixture(scope="module")
def vocab(smollm2: Path) -> Iterator[Vocab]:
    with Weights(smollm2, vocab_only=True) as tokenizer:
        yield tokenizer.vocab


def test_its_context_and_limits(server: Predicts, vocab: Vocab) -> None:
    offer = server.offer
    assert offer.software == "vLLM"
    assert offer.most_logprobs == len(vocab) == 49_152
    assert offer.rows_at_once
    assert offer.takes_bias
    assert offer.n_ctx == CTX - 1  # it wants room for a token
    [row] = server.rows([260] * offer.n_ctx, 1, 5)
    assert len(row.tokens) == 5
    with pytest.raises(ContextFullError):
        server.rows([260] * (CTX + 1), 1, 5)


def test_what_is_drawn_is_named_and_told_of_as_the_base_has_it(
    server: Predicts, vocab: Vocab
) -> None:
    [row] = server.rows([260], 1, len(vocab))
    logprobs = dict(zip(row.tokens.tolist(), row.logprobs.tolist(), strict=True))
    half = next(t for t, text in enumerate(vocab.texts) if text.startswith(b"\xf0\x9f"))
    for token in (min(vocab.end_of_generation), half):  # they have no text of their own
        drawn = server.draw([260], {token: 100.0}, Draws())
        assert drawn.token == token
        assert drawn.logprob == pytest.approx(logprobs[token], abs=0.01)
