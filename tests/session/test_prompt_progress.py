"""How much of a prompt has been read: told by models, weighed, and where a cancel is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.core.model import Logits
from edgeproxy.decode.remembering import Remembering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.floor import Floor
from edgeproxy.session.load import load
from edgeproxy.session.prompt_progress import listening, work_of
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.fakes import FakeModel, fake_vocab, random_trio

PLAIN = FORMATS["plain"]
BATCH = 8


class Telling(FakeModel):
    """A model that reads in batches and tells its floor of each, as llama.cpp's do."""

    def __init__(self, n_params: int, floor: Floor) -> None:
        super().__init__()
        self.n_params = n_params
        self._floor = floor

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        before = self.n_past
        try:
            for start in range(0, len(tokens) - BATCH, BATCH):
                super().eval(tokens[start : start + BATCH])
                self._floor.heard(BATCH * self.n_params)
            start = max(0, -(-len(tokens) // BATCH) - 1) * BATCH
            found = super().eval(tokens[start:], min(rows, len(tokens) - start))
            if len(tokens) > 1:
                self._floor.heard((len(tokens) - start) * self.n_params)
        except BaseException:
            self.rewind(self.n_past - before)
            raise
        return found


def speaker_of(*n_params: int) -> TrioSpeaker:
    floor, vocab = Floor(), fake_vocab()
    base, expert, anti_expert = (Telling(n, floor) for n in n_params)
    trio = Trio(base, expert, anti_expert)
    return TrioSpeaker(trio, (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation, floor)


def test_a_prompt_is_told_of_in_tokens_of_the_base_weighed_by_the_models() -> None:
    heard: list[tuple[int, int]] = []
    speaker = speaker_of(8, 1, 1)
    list(speaker.reply("x" * 15, max_tokens=2, progress=lambda *told: heard.append(told)))
    # 16 tokens with the line's end, in two batches each; the base does 8 parts of 10.
    assert heard == [(0, 16), (6, 16), (12, 16), (13, 16), (14, 16), (15, 16), (16, 16)]


def test_only_what_was_not_read_before_counts() -> None:
    heard: list[tuple[int, int]] = []
    speaker = speaker_of(8, 1, 1)
    conversation = Conversation(speaker)
    list(conversation.say("x" * 15, max_tokens=2))
    list(conversation.say("y", max_tokens=2, progress=lambda *told: heard.append(told)))
    total = heard[0][1]
    assert total < 8
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)


def test_models_that_tell_nothing_are_only_begun_with() -> None:
    heard: list[tuple[int, int]] = []
    vocab = fake_vocab()
    speaker = TrioSpeaker(random_trio(), (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation)
    list(speaker.reply("x" * 15, max_tokens=2, progress=lambda *told: heard.append(told)))
    assert heard == [(0, 16)]


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_a_cancel_is_heard_between_two_batches_and_the_models_are_put_back(stop_at: int) -> None:
    speaker = speaker_of(8, 1, 1)
    heard: list[int] = []
    conversation = Conversation(speaker)
    list(conversation.say("first", max_tokens=2))
    held = [list(model.history) for model in models_of(speaker)]

    def progress(done: int, _total: int) -> None:
        heard.append(done)
        if len(heard) == stop_at + 1:
            turn.cancel()

    turn = conversation.say("x" * 30, max_tokens=2, progress=progress)
    (piece,) = turn
    assert piece.finish_reason == "cancelled"
    assert len(heard) == stop_at + 1
    assert len(conversation.messages) == 2
    for model, before in zip(models_of(speaker), held, strict=True):
        assert model.history == before[: len(model.history)]
    fresh = Conversation(speaker_of(8, 1, 1))
    list(fresh.say("first", max_tokens=2))
    again = [list(c.say("y", max_tokens=6)) for c in (conversation, fresh)]
    assert again[0] == again[1]


def models_of(speaker: TrioSpeaker) -> list[FakeModel]:
    return [model for model in speaker.trio.models if isinstance(model, FakeModel)]


def test_what_progress_raises_stops_the_reply_and_the_next_one_hears_nothing() -> None:
    speaker = speaker_of(8, 1, 1)

    def refuse(done: int, _total: int) -> None:
        if done:
            raise UsageError("enough")

    with pytest.raises(UsageError, match="enough"):
        list(speaker.reply("x" * 30, progress=refuse))
    assert speaker.floor.listener is None
    list(speaker.reply("x" * 30, max_tokens=2))


def test_drafts_that_are_evaluated_later_change_nothing() -> None:
    floor, heard = Floor(), []

    def told(done: int, total: int) -> None:
        heard.append((done, total))

    with listening(floor, told, 10, 100, Flag()):
        for work in (30, 70, 50, 50):
            floor.heard(work)
    floor.heard(10)
    assert heard == [(0, 10), (3, 10), (10, 10)]


def test_a_cancel_is_heard_without_anyone_listening() -> None:
    floor, flag = Floor(), Flag()
    with listening(floor, None, 10, 100, flag):
        floor.heard(10)
        flag.set()
        with pytest.raises(Cancelled):
            floor.heard(10)


def test_work_is_of_the_model_behind_what_wraps_it() -> None:
    model: Any = Telling(7, Floor())
    assert work_of(Remembering(Remembering(model)), 3) == 21
    assert work_of(FakeModel(), 3) == 0


@pytest.mark.weights
@pytest.mark.parametrize("trio", ["factbook", "factbook-phi"])
@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_real_models_tell_of_their_batches(factbook: Any, trio: str, alpha: float) -> None:
    heard: list[tuple[int, int]] = []
    listener: Callable[[int, int], None] = lambda *told: heard.append(told)  # noqa: E731
    with load(trio, alpha=alpha, n_threads=1) as session:
        turn = session.reply("word " * 300, max_tokens=2, progress=listener)
        list(turn)
        total = turn.usage.prompt
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)
    assert heard == sorted(heard)
    assert len(heard) > 2
