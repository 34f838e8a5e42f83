"""With base_weight 0 the expert alone answers: for a trio loaded so, and for a reply asked so."""

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
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.expert import EXPERT_ALONE, ExpertSpeaker
from edgeproxy.session.load import load
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import FakeModel, random_model, saying
from tests.helpers.gguf_files import draft

PLAIN = FORMATS["plain"]
REPLIES = {"Hello\n": "Good day.", "Lines\n": "one\ntwo"}


class Files:
    def close(self) -> None:
        """Nothing was opened."""


class Fakes:
    """A session of fakes, and the model of each expert that answers alone."""

    def __init__(self, expert_alone: bool = False) -> None:
        self.alone: list[FakeModel] = []
        role = Role(Path("none.gguf"))
        recipe = Recipe("fake", role, role, role)
        if expert_alone:
            recipe = replace(recipe, steering=EXPERT_ALONE)
        self.session = Session(
            recipe,
            self.expert() if expert_alone else self.trio(),
            Files(),
            lambda _role: SoloSpeaker(saying(REPLIES), PLAIN),
            matches={},
            crew=Crew(1, 1, 1),
            memory=Estimate(0, 0, 0, 0, 0, 0),
        )

    def trio(self) -> TrioSpeaker:
        trio = Trio(random_model(1), random_model(2), random_model(3))
        vocab, alone = trio.vocab, self.alone

        def make() -> ExpertSpeaker:
            return _expert(alone)

        endings = vocab.end_of_generation
        return TrioSpeaker(trio, (PLAIN,) * 3, (vocab,) * 3, endings, alone=make)

    def expert(self) -> ExpertSpeaker:
        return _expert(self.alone)


def _expert(made: list[FakeModel]) -> ExpertSpeaker:
    made.append(saying(REPLIES))
    return ExpertSpeaker(made[-1], PLAIN)


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


@pytest.mark.parametrize("expert_alone", [False, True])
def test_a_session_is_freed_with_its_last_reference(expert_alone: bool) -> None:
    gc.disable()
    try:
        session: Session | None = Fakes(expert_alone).session
        assert session is not None
        alive: list[weakref.ref[Any]] = [weakref.ref(session), weakref.ref(session.speaker)]
        turn = session.reply("Hello", steering=EXPERT_ALONE)
        next(turn)
        del session, turn
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


# A trio of which only the expert was loaded


def test_the_expert_goes_on_from_what_it_has_read() -> None:
    fakes = Fakes(expert_alone=True)
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
    speaker = ExpertSpeaker(model, PLAIN)
    for question in ("Hello", "Lines", "Hello"):
        turn = speaker.reply(question)
        list(turn)
        assert (turn.text, turn.usage.kept) == (REPLIES[f"{question}\n"], 0)


def test_a_failed_evaluation_is_not_taken_for_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = saying(REPLIES)
    speaker = ExpertSpeaker(model, PLAIN)
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


def test_its_steering_may_change_the_mask_and_nothing_else() -> None:
    session = Fakes(expert_alone=True).session
    session.plausibility = 0.2
    assert session.steering == Steering(base_weight=0.0, plausibility=0.2)
    for steering in (Steering(), Steering(base_weight=0.5)):
        with pytest.raises(UsageError, match="only the expert was loaded"):
            session.steering = steering
        with pytest.raises(UsageError, match="only the expert was loaded"):
            session.reply("Hello", steering=steering)
    with pytest.raises(UsageError, match="goes with alpha 1"):
        session.alpha = 0.5
    assert session.steering == Steering(base_weight=0.0, plausibility=0.2)


def test_what_needs_three_models_says_so() -> None:
    session = Fakes(expert_alone=True).session
    assert session.is_expert_alone
    uses: list[Any] = [
        lambda: session.trio,
        lambda: session.drafter,
        lambda: session.cache_prompt("Be brief.", "nowhere"),
    ]
    for use in uses:
        with pytest.raises(UsageError, match=r"needs all three models of fake.*--base-weight"):
            use()
    assert session.cost is None
    assert session.n_ctx == 4096


@pytest.mark.parametrize(("mask", "min_p", "wanted"), [(0.0, 0.1, 0.1), (0.3, 0.1, 0.3)])
def test_the_mask_is_min_p(
    mask: float, min_p: float, wanted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Sampling] = []
    begin = SoloSpeaker.begin

    def noted(self: SoloSpeaker, asked: Any, *others: Any) -> Iterator[Any]:
        drawn.append(asked.sampling)
        return begin(self, asked, *others)

    monkeypatch.setattr(SoloSpeaker, "begin", noted)
    session = Fakes(expert_alone=True).session
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


def test_only_the_experts_file_is_opened_and_it_says_the_same(files: dict[str, Path]) -> None:
    settings = {"n_ctx": 64, "n_threads": 1}
    with load(**{**files, **settings}) as whole:  # type: ignore[arg-type]
        solo = whole.solo("expert")
        wanted = [said(solo.reply(question, max_tokens=12)) for question in QUESTIONS]
        routed = [
            said(whole.reply(question, max_tokens=12, steering=EXPERT_ALONE))
            for question in QUESTIONS
        ]
        assert whole.trio.n_past == 0
    missing = {**files, "base": Path("no.gguf"), "anti_expert": Path("neither.gguf")}
    with load(**{**missing, **settings}, base_weight=0.0) as alone:  # type: ignore[arg-type]
        got = [said(alone.reply(question, max_tokens=12)) for question in QUESTIONS]
        assert alone.memory.total < whole.memory.total
        assert alone.n_ctx == 64
    assert routed == wanted
    assert got == wanted


def test_other_models_may_answer_alone_beside_it(files: dict[str, Path]) -> None:
    with load(**files, base_weight=0.0, solo=["base", "expert"]) as session:  # type: ignore[arg-type]
        assert said(session.solo("base").reply("Hello", max_tokens=4))
        assert said(session.solo("expert").reply("Hello", max_tokens=4)) == said(
            session.reply("Hello", max_tokens=4)
        )


def test_an_impossible_steering_is_refused_before_a_file_is_opened() -> None:
    nothing = {role: Path("no.gguf") for role in ("base", "expert", "anti_expert")}
    with pytest.raises(UsageError, match="goes with alpha 1"):
        load(**nothing, base_weight=0.0, alpha=2.0)  # type: ignore[arg-type]
