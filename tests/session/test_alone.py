"""One model answers alone where a trio is loaded so, and the expert where a reply asks for it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.core.threads import Crew
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import BASE_ALONE, EXPERT_ALONE, Alone, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.load import load
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import FakeModel, random_model, saying
from tests.helpers.gguf_files import draft

PLAIN = FORMATS["plain"]
REPLIES = {"Hello\n": "Good day.", "Lines\n": "one\ntwo"}
ALONE: dict[Alone, Steering] = {"expert": EXPERT_ALONE, "base": BASE_ALONE}

each_alone = pytest.mark.parametrize("alone", ALONE)


class Files:
    def close(self) -> None:
        """Nothing was opened."""


class Fakes:
    """A session of fakes, and each model that answers alone."""

    def __init__(self, alone: Alone | None = None) -> None:
        self.alone: list[FakeModel] = []
        role = Role(Path("none.gguf"))
        recipe = Recipe("fake", role, role, role)
        if alone:
            recipe = replace(recipe, steering=ALONE[alone])
        self.session = Session(
            recipe,
            _alone(alone, self.alone) if alone else self.trio(),
            Files(),
            lambda _role: SoloSpeaker(saying(REPLIES), PLAIN),
            matches={},
            crew=Crew(1, 1, 1),
            memory=Estimate(0, 0, 0, 0, 0, 0),
        )

    def trio(self) -> TrioSpeaker:
        trio = Trio(random_model(1), random_model(2), random_model(3))
        vocab, alone = trio.vocab, self.alone

        def make() -> AloneSpeaker:
            return _alone("expert", alone)

        endings = vocab.end_of_generation
        return TrioSpeaker(trio, (PLAIN,) * 3, (vocab,) * 3, endings, expert_alone=make)


def _alone(role: Alone, made: list[FakeModel]) -> AloneSpeaker:
    made.append(saying(REPLIES))
    return AloneSpeaker(role, ALONE[role], made[-1], PLAIN)


# A reply of a whole trio


def test_a_reply_with_base_weight_0_reads_neither_base_nor_anti_expert() -> None:
    fakes = Fakes()
    session = fakes.session
    turn = session.reply("Hello", steering=EXPERT_ALONE)
    list(turn)
    assert turn.text == "Good day."
    assert [model.n_past for model in session.trio.models] == [0, 0, 0]
    list(session.reply("Hello", max_tokens=3))
    assert all(model.n_past for model in session.trio.models)
    session.steering = EXPERT_ALONE
    assert "".join(piece.text for piece in session.conversation().say("Lines")) == "one\ntwo"
    assert len(fakes.alone) == 1


def test_three_models_cannot_be_recorded_where_one_answers() -> None:
    with pytest.raises(UsageError, match="record is of three models"):
        Fakes().session.reply("Hello", steering=EXPERT_ALONE, record=2)


def test_what_a_reply_changes_of_a_steering_is_checked() -> None:
    session = Fakes().session
    with pytest.raises(UsageError, match="goes with alpha 1"):
        session.reply("Hello", steering=EXPERT_ALONE, alpha=0.5)


def test_the_expert_is_cancelled_and_closed_with_the_trio() -> None:
    session = Fakes().session
    turn = session.reply("Hello", steering=EXPERT_ALONE)
    next(turn)
    session.cancel()
    assert [piece.finish_reason for piece in turn] == ["cancelled"]
    session.close()
    with pytest.raises(EngineError, match="closed"):
        list(session.reply("Hello", steering=EXPERT_ALONE))


def test_a_closed_trio_makes_no_expert() -> None:
    fakes = Fakes()
    fakes.session.close()
    with pytest.raises(EngineError, match="closed"):
        fakes.session.reply("Hello", steering=EXPERT_ALONE)
    assert fakes.alone == []


def test_a_reply_with_alpha_0_is_the_bases_and_takes_no_context_more() -> None:
    fakes = Fakes()
    base = SoloSpeaker(random_model(1), PLAIN)
    for question in ("Hello", "Lines"):
        got = fakes.session.reply(question, steering=BASE_ALONE, max_tokens=8)
        assert said(got) == said(base.reply(question, max_tokens=8))
    assert fakes.alone == []


@pytest.mark.parametrize("alone", [None, "expert"])
def test_a_session_is_freed_with_its_last_reference(alone: Alone | None) -> None:
    gc.disable()
    try:
        session: Session | None = Fakes(alone).session
        assert session is not None
        alive: list[weakref.ref[Any]] = [weakref.ref(session), weakref.ref(session.speaker)]
        turn = session.reply("Hello", steering=EXPERT_ALONE)
        next(turn)
        del session, turn
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


# A trio of which one model was loaded


@each_alone
def test_it_goes_on_from_what_it_has_read(alone: Alone) -> None:
    fakes = Fakes(alone)
    (model,) = fakes.alone
    conversation = fakes.session.conversation()
    list(conversation.say("Hello"))
    read = model.n_past
    turn = conversation.say("Lines")
    list(turn)
    assert turn.usage.kept == read
    list(fakes.session.reply("Hello"))
    assert bytes(model.history) == b"Hello\nGood day."


def test_a_model_that_cannot_rewind_reads_from_the_start() -> None:
    model = saying(REPLIES)
    model.can_rewind = False
    speaker = AloneSpeaker("expert", EXPERT_ALONE, model, PLAIN)
    for question in ("Hello", "Lines", "Hello"):
        turn = speaker.reply(question)
        list(turn)
        assert (turn.text, turn.usage.kept) == (REPLIES[f"{question}\n"], 0)


def test_a_failed_evaluation_is_not_taken_for_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = saying(REPLIES)
    speaker = AloneSpeaker("expert", EXPERT_ALONE, model, PLAIN)
    list(speaker.reply("Hello"))

    def fail(*_: Any) -> Any:
        raise EngineError("it failed")

    with monkeypatch.context() as broken:
        broken.setattr(model, "eval", fail)
        with pytest.raises(EngineError):
            list(speaker.reply("Lines"))
    turn = speaker.reply("Lines")
    list(turn)
    assert turn.text == "one\ntwo"


@each_alone
def test_its_steering_may_change_the_mask_and_nothing_else(alone: Alone) -> None:
    session = Fakes(alone).session
    session.plausibility = 0.2
    before = replace(ALONE[alone], plausibility=0.2)
    assert session.steering == before
    others = [steering for role, steering in ALONE.items() if role != alone]
    for steering in (Steering(), Steering(base_weight=0.5), *others):
        with pytest.raises(UsageError, match=f"only the {alone} was loaded"):
            session.steering = steering
        with pytest.raises(UsageError, match=f"only the {alone} was loaded"):
            session.reply("Hello", steering=steering)
    with pytest.raises(UsageError):
        session.alpha = 0.5
    with pytest.raises(UsageError, match="record"):
        session.reply("Hello", record=1)
    assert session.steering == before


def test_a_steering_of_several_models_makes_no_speaker() -> None:
    with pytest.raises(UsageError, match="only the base was loaded"):
        AloneSpeaker("base", Steering(), saying(REPLIES), PLAIN)


def test_a_trio_is_not_alone() -> None:
    assert Fakes().session.alone is None


@each_alone
def test_what_needs_three_models_says_so(alone: Alone) -> None:
    session = Fakes(alone).session
    assert session.alone == alone
    uses: list[Any] = [
        lambda: session.trio,
        lambda: session.drafter,
        lambda: session.cache_prompt("Be brief.", "nowhere"),
    ]
    for use in uses:
        with pytest.raises(UsageError, match=rf"all three models of fake.* {alone} was.*--alpha 1"):
            use()
    assert session.cost is None
    assert session.n_ctx == 4096


@pytest.mark.parametrize(
    ("alone", "mask", "min_p", "wanted"),
    [("expert", 0.0, 0.1, 0.1), ("expert", 0.3, 0.1, 0.3), ("base", 0.3, 0.1, 0.1)],
)
def test_the_experts_mask_is_min_p_and_the_base_has_none(
    alone: Alone, mask: float, min_p: float, wanted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Sampling] = []
    begin = SoloSpeaker.begin

    def noted(self: SoloSpeaker, asked: Any, *others: Any) -> Iterator[Any]:
        drawn.append(asked.sampling)
        return begin(self, asked, *others)

    monkeypatch.setattr(SoloSpeaker, "begin", noted)
    session = Fakes(alone).session
    list(session.reply("Hello", sampling=Sampling(min_p=min_p), plausibility=mask))
    assert [sampling.min_p for sampling in drawn] == [wanted]


# Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trio")
    roles = ("base", "expert", "anti_expert")
    return {role: draft("llama").write(folder / f"{role}.gguf", n) for n, role in enumerate(roles)}


def said(turn: Any) -> list[int | None]:
    return [piece.token for piece in turn]


QUESTIONS = ("Hello", "What is it?", [Message("system", "Be brief."), Message("user", "Why?")])


@each_alone
def test_only_its_file_is_opened_and_it_says_the_same(alone: Alone, files: dict[str, Path]) -> None:
    settings = {"n_ctx": 64, "n_threads": 1}
    with load(**{**files, **settings}) as whole:  # type: ignore[arg-type]
        solo = whole.solo(alone)
        wanted = [said(solo.reply(question, max_tokens=12)) for question in QUESTIONS]
        asked_so = [
            said(whole.reply(question, max_tokens=12, steering=ALONE[alone]))
            for question in QUESTIONS
        ]
        assert (whole.trio.n_past == 0) == (alone == "expert")
    missing: dict[str, Any] = {role: Path(f"no {role}.gguf") for role in files}
    missing |= {alone: files[alone], **settings}
    with load(**missing, steering=ALONE[alone]) as session:
        got = [said(session.reply(question, max_tokens=12)) for question in QUESTIONS]
        assert session.alone == alone
        assert session.memory.total < whole.memory.total
        assert session.n_ctx == 64
    assert asked_so == wanted
    assert got == wanted


@each_alone
def test_other_models_may_answer_alone_beside_it(alone: Alone, files: dict[str, Path]) -> None:
    with load(**files, steering=ALONE[alone], solo=["base", "expert"]) as session:  # type: ignore[arg-type]
        replies = {role: said(session.solo(role).reply("Hello", max_tokens=4)) for role in ALONE}
        assert all(replies.values())
        assert said(session.reply("Hello", max_tokens=4)) == replies[alone]


def test_an_impossible_steering_is_refused_before_a_file_is_opened() -> None:
    nothing = {role: Path("no.gguf") for role in ("base", "expert", "anti_expert")}
    with pytest.raises(UsageError, match="goes with alpha 1"):
        load(**nothing, base_weight=0.0, alpha=2.0)  # type: ignore[arg-type]
