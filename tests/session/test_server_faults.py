"""Hundreds of replies through a proxy that breaks answers: each is right, or one clear error."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import EdgeproxyError
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.remote import retry
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.fakes import FakeModel, fake_vocab, noise
from tests.helpers.faulty_proxy import FAULTS
from tests.helpers.served_trios import speaking

VOCAB = fake_vocab()
REPLIES = 200
LENGTH = 4
RATE = 0.15


def models() -> tuple[FakeModel, FakeModel, FakeModel]:
    base, expert, anti_expert = (FakeModel(noise(seed, VOCAB), vocab=VOCAB) for seed in (1, 2, 3))
    return base, expert, anti_expert


def said_here(questions: list[str]) -> list[str]:
    """What the same trio says with its base here."""
    plain = FORMATS["plain"]
    trio, endings = Trio(*models()), VOCAB.end_of_generation
    speaker = TrioSpeaker(trio, (plain, plain, plain), (VOCAB, VOCAB, VOCAB), endings)
    return ["".join(p.text for p in speaker.reply(q, max_tokens=LENGTH)) for q in questions]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.002)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "draft"), [("rows", "auto"), ("rows", "off"), ("bias", "off")])
def test_each_reply_is_right_or_one_clear_error(way: Any, draft: Draft) -> None:
    questions = [f"Question {n % 20}" for n in range(REPLIES)]
    wanted = dict(zip(questions[:20], said_here(questions[:20]), strict=True))
    right, errors = 0, []
    with speaking(
        *models(), vocab=VOCAB, mode=draft, faults=11, way=way, logprobs=len(VOCAB)
    ) as each:
        each.proxy.rate = RATE
        for question in questions:
            try:
                text = each.ask(question, max_tokens=LENGTH)
            except EdgeproxyError as error:
                errors.append(str(error))
            else:
                assert text == wanted[question]
                right += 1
            read = [model.n_past for model in each.speaker.trio.models]
            assert read[0] == read[1] == read[2]
        each.proxy.rate = 0.0
        each.http.read_timeout = 60.0  # a busy machine is no fault
        for question in questions[:20]:
            assert each.ask(question, max_tokens=LENGTH) == wanted[question]
        assert set(FAULTS) <= set(each.proxy.met)
        assert all(each.proxy.url in error for error in errors)
    assert len(errors) + right == REPLIES
    assert errors
    assert right > REPLIES / 4
