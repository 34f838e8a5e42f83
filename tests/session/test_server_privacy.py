"""What a server is told of documents: nothing of a passage that its model is not to read.

The fakes' vocabulary is bytes, so that each prompt at the server can be read as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.steering import Steering
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.search import Found
from edgeproxy.prompts.formats import Message
from edgeproxy.session.reading import Reading
from edgeproxy.trios.manifest import Readers
from tests.helpers.fakes import LIKELY, FakeModel, fake_vocab, noise, saying
from tests.helpers.served_trios import Eager, Speaking, speaking
from tests.helpers.serving_models import Kind

LINES = ("The vault's number is 4711-0815.", "Nobody but Ada knows it.", "Es liegt in Zürich.")
PASSAGES = [
    Found(Passage(n, Path("private.txt"), 0, (), f"line {n}", text), 1.0, ())
    for n, text in enumerate(("\n".join(LINES[:2]), LINES[2]))
]
QUESTION = "What is it?"
RUN = 8
"""So many bytes of a passage in a row are one that came from there."""

VOCAB = fake_vocab()
each_way = pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("llama-server", "rows"),
        ("llama-server", "bias"),
        ("llama-server", "top-k"),
        ("vllm", "rows"),
        ("vllm", "bias"),
    ],
)


def lettered() -> Vocab:
    """Bytes, and a word, by which a server is tried with a bias."""
    from dataclasses import replace

    return replace(VOCAB, tokens=(*VOCAB.tokens, b"word"), kinds=(*VOCAB.kinds, 1))


LETTERED = lettered()


def model(seed: int) -> FakeModel:
    return FakeModel(noise(seed, LETTERED), vocab=LETTERED)


def finds(_messages: Sequence[Message]) -> Sequence[Found]:
    return PASSAGES


def leaked(each: Speaking) -> set[bytes]:
    """The runs of a passage that are in any prompt at the server, or in the text of a request."""
    texts = [bytes(t for t in prompt if t < 256) for prompt in each.served.serving.prompts]
    texts += [request.body for request in each.served.server.requests]
    lines = [line.encode() for line in LINES]
    runs = {line[at : at + RUN] for line in lines for at in range(len(line) - RUN + 1)}
    everything = b"\0".join(texts)
    return {run for run in runs if run in everything}


def ask_all(each: Speaking, readers: Readers, **settings: Any) -> None:
    """Two replies, the second in the conversation of the first."""
    turn = each.speaker.reply(QUESTION, docs_to=readers, max_tokens=10, **settings)
    text = "".join(piece.text for piece in turn)
    assert turn.read.found, "there is something to keep"
    talk = [Message("user", QUESTION), Message("assistant", text), Message("user", "And then?")]
    list(each.speaker.reply(talk, docs_to=readers, max_tokens=10, **settings))


@each_way
@pytest.mark.parametrize("draft", ["off", "auto", "ngram"])
def test_what_only_the_expert_reads_no_server_is_told(kind: Kind, way: Any, draft: Draft) -> None:
    with speaking(
        *(model(seed) for seed in (1, 2, 3)),
        vocab=LETTERED,
        kind=kind,
        mode=draft,
        reading=Reading(finds, "nobody"),
        way=way,
        logprobs=20,
    ) as each:
        ask_all(each, "expert")
        assert each.served.serving.prompts
        assert leaked(each) == set()
        expert = each.speaker.trio.expert
        assert isinstance(expert, FakeModel)
        assert LINES[0].encode() in bytes(token for token in expert.history if token < 256)


@each_way
@pytest.mark.parametrize("readers", ["base", "all"])
def test_what_the_base_reads_its_server_is_told(kind: Kind, way: Any, readers: Readers) -> None:
    with speaking(
        *(model(seed) for seed in (1, 2, 3)),
        vocab=LETTERED,
        kind=kind,
        reading=Reading(finds, "nobody"),
        way=way,
        logprobs=20,
    ) as each:
        ask_all(each, readers)
        assert len(leaked(each)) > 40


def biased(each: Speaking) -> set[str]:
    """The tokens that the server was given a bias of, by their ids as text."""
    bodies = [json.loads(request.body) for request in each.served.server.requests if request.body]
    given = [body["logit_bias"] for body in bodies if body.get("logit_bias")]
    return {str(each[0]) if isinstance(each, list) else each for bias in given for each in bias}


@pytest.mark.parametrize(("readers", "tokens_are_asked_for"), [("expert", False), ("nobody", True)])
def test_no_token_is_asked_for_where_the_expert_alone_has_read(
    readers: Readers, tokens_are_asked_for: bool
) -> None:
    with speaking(
        *(model(seed) for seed in (1, 2, 3)),
        vocab=LETTERED,
        kind="llama-server",
        mode="off",
        reading=Reading(finds, "nobody"),
        way="top-k",
        logprobs=5,
    ) as each:
        list(each.speaker.reply(QUESTION, docs_to=readers, max_tokens=30))
        assert bool(each.speaker.trio.coverage.asked) == tokens_are_asked_for
        assert (len(biased(each)) > 1) == tokens_are_asked_for


def reciting(history: Sequence[int]) -> NDArray[np.float32]:
    """Says a passage's first line where it has read that, whatever was said in its place."""
    row = np.zeros(len(LETTERED), np.float32)
    read = bytes(token for token in history if token < 256)
    line = LINES[0].encode()
    if line in read:
        said = read.rpartition(b"?\n")[2]
        if len(said) < len(line):
            row[line[len(said)]] = LIKELY
    return row


@each_way
def test_what_the_expert_would_say_of_a_passage_and_the_trio_does_not(kind: Kind, way: Any) -> None:
    """The base alone decides here; what the expert recites is in no row and no request."""
    base = saying({"it?\n": "No, I will not tell you that."}, vocab=LETTERED)
    with speaking(
        base,
        FakeModel(reciting, vocab=LETTERED),
        FakeModel(lambda _: np.zeros(len(LETTERED), np.float32), vocab=LETTERED),
        vocab=LETTERED,
        kind=kind,
        steering=Steering(0.1),
        reading=Reading(finds, "expert"),
        way=way,
        logprobs=20,
    ) as each:
        assert each.ask(QUESTION, max_tokens=40) == "No, I will not tell you that."
        assert leaked(each) == set()


@pytest.mark.parametrize("draft", ["expert", "auto"])
@pytest.mark.parametrize("readers", ["expert", "all"])
def test_what_an_expert_drafts_is_sent_only_where_the_base_reads_too(
    draft: Draft, readers: Readers
) -> None:
    """A draft is what the expert would say: its passage, which the trio need never say."""
    with speaking(
        saying({"it?\n": "No, I will not tell you that."}, vocab=LETTERED),
        FakeModel(reciting, vocab=LETTERED),
        FakeModel(lambda _: np.zeros(len(LETTERED), np.float32), vocab=LETTERED),
        vocab=LETTERED,
        steering=Steering(0.1),
        mode=draft,
        reading=Reading(finds, readers),
        logprobs=20,
    ) as each:
        each.speaker.drafter.pace = Eager(12)
        assert each.ask(QUESTION, max_tokens=40) == "No, I will not tell you that."
        prompts = [bytes(t for t in prompt if t < 256) for prompt in each.served.serving.prompts]
        if readers == "expert":
            assert leaked(each) == set()
        else:
            assert any(LINES[0].encode()[4:12] in p.rpartition(b"?\n")[2] for p in prompts)
