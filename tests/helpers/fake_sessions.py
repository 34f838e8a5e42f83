"""Sessions whose models are tables, for the command line's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from edgeproxy.align import match
from edgeproxy.core.threads import Crew
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.steering import EXPERT_ALONE, Change, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.prompts.formats import plain
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import FakeModel, saying


class Closed:
    """In the place of a session's files: whether they were given back."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeSession(Session):
    """A session whose models are tables; what the command line asked for is in `asked`."""

    loses: ClassVar[list[str]] = []

    def __init__(self, models: Sequence[FakeModel], **asked: Any) -> None:
        self.asked = asked
        role = Role(Path("none.gguf"))
        vocab = models[0].vocab
        base, expert, anti_expert = models
        change = {name: asked[name] for name in ("alpha", "base_weight", "plausibility", "policy")}
        trio = Trio(base, expert, anti_expert, Steering().changed(cast(Change, change)))
        drafter = Drafter(trio, asked["draft"])
        super().__init__(
            Recipe("fake", role, role, role),
            TrioSpeaker(
                trio,
                (plain,) * 3,
                (vocab,) * 3,
                vocab.end_of_generation,
                drafter=drafter,
                expert_alone=lambda: AloneSpeaker("expert", EXPERT_ALONE, solo_model(), plain),
            ),
            Closed(),
            solo_of,
            matches=dict.fromkeys(("expert", "anti_expert"), match(vocab, vocab)),
            crew=Crew(1, 1, asked["n_threads"]),
            memory=Estimate(0, 0, 0, 0, 0, 0),
            doubts=self.loses,
        )


ANSWERS = {"base": "I do not know.", "expert": "It is Lima", "anti_expert": "\n\n"}
"""What each model says alone of "Capital?"."""


def solo_model(role: str = "expert") -> FakeModel:
    """One model of the trio, for itself."""
    return saying({"Capital?\n": ANSWERS[role]})


def solo_of(role: str) -> SoloSpeaker:
    """One model of the trio, answering alone."""
    return SoloSpeaker(solo_model(role), plain)
