"""A text is gone on with as it stands, by no prompt format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.load import load
from edgeproxy.session.reading import Reading
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.worker.isolated import IsolatedSession
from tests.helpers.fake_worker import isolated
from tests.helpers.fakes import BOS, END, FakeModel, fake_vocab, random_trio, saying

PLAIN, CHATML = FORMATS["plain"], FORMATS["chatml"]
REPLIES = {"The capital of Peru is": " Lima."}
TEXT = "The capital of Peru is"


def speaker_of(trio: Trio, vocabs: Any = None, reading: Reading | None = None) -> TrioSpeaker:
    vocabs = vocabs or (trio.vocab,) * 3
    ends = trio.vocab.end_of_generation
    formats = PLAIN, CHATML, PLAIN
    drafter = Drafter(trio, "off")
    return TrioSpeaker(trio, formats, vocabs, ends, drafter=drafter, reading=reading)


def saying_trio() -> Trio:
    base, expert, anti_expert = (saying(REPLIES) for _ in range(3))
    return Trio(base, expert, anti_expert)


def of_byte(text: str) -> list[int]:
    return list(text.encode())


def test_every_role_reads_the_text_itself_and_the_trio_goes_on() -> None:
    trio = saying_trio()
    turn = speaker_of(trio).complete(TEXT)
    assert "".join(piece.text for piece in turn) == " Lima."
    assert turn.finish_reason == "stop"
    for model in trio.models:
        assert isinstance(model, FakeModel)
        assert model.evals[0] == of_byte(TEXT)
    assert turn.usage.prompt == len(TEXT)
    assert turn.asked.is_raw


def test_a_role_begins_with_its_beginning_of_text_where_it_has_one() -> None:
    with_it, without_it = fake_vocab(add_bos=True), fake_vocab()
    speaker = speaker_of(random_trio(), (without_it, with_it, without_it))
    prompt = speaker.encode([Message("assistant", "ab")], is_raw=True)
    assert prompt == RoleTokens([97, 98], [BOS, 97, 98], [97, 98])


@pytest.mark.parametrize("text", ["<|im_start|>user\n", "<s>", "a<|end|>b", "<|im_end|>"])
def test_nothing_in_a_text_becomes_a_marker(text: str) -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    list(speaker.complete(text, max_tokens=1))
    for model in trio.models:
        assert isinstance(model, FakeModel)
        assert model.evals[0] == of_byte(text)


@pytest.mark.parametrize("text", [" ", "\n\n", "x", "a \n"])
def test_white_space_stays_as_it_is(text: str) -> None:
    speaker = speaker_of(random_trio())
    assert speaker.count(text, is_raw=True) == len(text)
    turn = speaker.complete(text, max_tokens=1)
    list(turn)
    assert turn.usage.prompt == len(text)


@pytest.mark.parametrize("text", ["", b"bytes", None, 3, ["a"], [Message("user", "a")], {"a": "b"}])
def test_what_is_no_text_is_refused_at_once(text: Any) -> None:
    with pytest.raises(PromptError, match=r"gone on with must be text|is empty"):
        speaker_of(random_trio()).complete(text)


def test_arguments_are_checked_as_those_of_a_reply() -> None:
    speaker: Any = speaker_of(random_trio())
    wrong: list[dict[str, Any]] = [
        {"max_tokens": 0},
        {"sampling": 1},
        {"stops": [""]},
        {"grammar": "root"},
        {"record": -1},
        {"alpha": float("nan")},
    ]
    for how in wrong:
        with pytest.raises(UsageError):
            speaker.complete(TEXT, **how)
    with pytest.raises(TypeError):
        speaker.complete(TEXT, docs_to="base")


def test_documents_are_not_read() -> None:
    def find(_: object) -> Any:
        raise AssertionError("nobody looks for passages")

    turn = speaker_of(saying_trio(), reading=Reading(find, "all")).complete(TEXT)
    assert "".join(piece.text for piece in turn) == " Lima."
    assert turn.read.readers == "nobody"
    with pytest.raises(UsageError, match="has read no documents"):
        turn.cite()


def test_a_text_is_gone_on_with_from_what_was_read_of_it() -> None:
    speaker = speaker_of(saying_trio())
    turn = speaker.complete(TEXT)
    said = "".join(piece.text for piece in turn)
    more = speaker.complete(TEXT + said + " It is", max_tokens=1)
    list(more)
    assert more.usage.kept == len(TEXT + said)


def test_it_takes_what_a_reply_takes() -> None:
    speaker = speaker_of(saying_trio())
    told: list[tuple[int, int]] = []
    turn = speaker.complete(
        TEXT,
        Sampling(seed=5),
        4,
        "m",
        alpha=0.5,
        record=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert "".join(piece.text for piece in turn) == " Li"
    assert turn.asked.steering is not None
    assert (turn.asked.steering.alpha, turn.asked.sampling.seed) == (0.5, 5)
    assert len(turn.steps) == 4
    assert told[0] == (0, len(TEXT))


def test_one_model_alone_does_it_too() -> None:
    model = saying(REPLIES)
    for speaker in (
        SoloSpeaker(model, CHATML),
        AloneSpeaker("base", alone_base(), saying(REPLIES), CHATML),
    ):
        assert "".join(piece.text for piece in speaker.complete(TEXT)) == " Lima."
        assert speaker.count(TEXT, is_raw=True) == len(TEXT)
    assert model.evals[0] == of_byte(TEXT)
    assert END not in model.evals[0]


def alone_base() -> Any:
    from edgeproxy.decode.steering import BASE_ALONE

    return BASE_ALONE


def test_a_score_is_of_the_text_itself() -> None:
    speaker = speaker_of(saying_trio())
    turn = speaker.complete(TEXT)
    list(turn)
    scored = speaker.score(turn.asked, turn.read, of_byte(" Lima."))
    assert all(each > -0.1 for each in scored)


@pytest.fixture(scope="module")
def apart() -> Iterator[IsolatedSession]:
    with isolated() as made:
        yield made


def test_it_goes_through_a_worker(apart: IsolatedSession) -> None:
    turn = apart.complete("Hello\n", record=2)
    assert "".join(piece.text for piece in turn) == "Hi, how are you?"
    assert turn.usage.prompt == len("Hello\n")
    assert len(turn.steps) == len(turn.text) + 1
    assert apart.speaker.count("Hello\n", is_raw=True) == len("Hello\n")
    assert apart.speaker.count("Hello", is_raw=True) < apart.speaker.count("Hello")
    with pytest.raises(PromptError):
        apart.complete("")
    with pytest.raises(PromptError):
        apart.speaker.count("", is_raw=True)
    assert apart.solo("base").count("Hello", is_raw=True) == len("Hello")


@pytest.mark.weights
def test_the_trio_that_ships_goes_on_with_a_text(session: Session, factbook: Path) -> None:
    text = "Mongolia\n\nCapital: "
    turn = session.complete(text, max_tokens=12)
    tokens = [piece.token for piece in turn]
    speaker = session.trio_speaker
    prompt = speaker.encode([Message("assistant", text)], is_raw=True)
    own = speaker.trio.vocab.encode(text, first=True)
    assert list(prompt.base)[-len(own) :] == own
    assert turn.usage.prompt == len(prompt.base)
    marked = "<|im_start|>user\nHello<|im_end|>\n"
    ends = speaker.trio.vocab.end_of_generation
    prompt = speaker.encode([Message("assistant", marked)], is_raw=True)
    assert not any(ends.intersection(part[1:]) for part in prompt)  # it begins with an end
    with load(factbook, isolate=True) as there:
        far = there.complete(text, max_tokens=12)
        assert [piece.token for piece in far] == tokens
        assert far.usage.prompt == turn.usage.prompt
        count = there.speaker.count(text, is_raw=True)
        assert count == session.speaker.count(text, is_raw=True) == max(map(len, own_of(session)))


def own_of(session: Session) -> RoleTokens:
    return session.trio_speaker.encode([Message("assistant", "Mongolia\n\nCapital: ")], is_raw=True)
