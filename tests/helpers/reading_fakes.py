"""A trio of fakes that reads passages, and what leaving each out does, by plain computation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.steering import EXPERT_ALONE, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.prompting import with_passages
from edgeproxy.documents.search import Found
from edgeproxy.prompts.formats import FORMATS, encode
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.floor import Floor
from edgeproxy.session.reading import ROLES, Reading
from edgeproxy.session.speaker import TrioSpeaker
from edgeproxy.session.turn import Turn
from edgeproxy.trios.manifest import Readers
from tests.helpers.fakes import LIKELY, FakeModel, Rows, drawn, fake_vocab

PLAIN = FORMATS["plain"]
VOCAB = fake_vocab()
TEXTS = ("The franc is old.", "Its lake is large.", "It has 19 towns.")
PASSAGES = tuple(
    Found(Passage(10 + n, Path(f"{n}.txt"), 0, (), "line 1", text), 1.0, ())
    for n, text in enumerate(TEXTS)
)
REPLY = "It is the franc. And 19 é towns. Bye."
QUESTION = "What?"
STEERING = Steering(0.7, base_weight=0.9, plausibility=0.2)


def knowing(seed: int, reply: str = REPLY, spread: float = 1.0) -> Rows:
    """Says `reply` after a question, each sentence only where its passage has been read."""
    data = reply.encode()
    needs = {b"franc": TEXTS[0].encode(), b"19": TEXTS[2].encode()}

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = drawn((seed, *history), spread, len(VOCAB)).copy()
        read = bytes(token for token in history if token < 256)
        _, _, said = read.rpartition(b"?\n")
        if data.startswith(said):
            at = len(said)
            start, end = data.rfind(b". ", 0, at) + 1, data.find(b".", at)
            needed = [text for key, text in needs.items() if key in data[start:end]]
            likely = data[at] if at < len(data) else max(VOCAB.end_of_generation)
            out[likely] += LIKELY if all(text in read for text in needed) else LIKELY / 3
        return out

    return row


ROWS = (knowing(1), knowing(2, spread=0.5), knowing(3, spread=0.5))
"""Those of base, expert and anti-expert."""


class Fakes:
    """A trio of fakes that answers with documents, and what it is made of."""

    def __init__(self, readers: Readers = "all", draft: Draft = "off", **settings: Any) -> None:
        floor: Any = Floor()
        self.floor: Floor = floor
        base, expert, anti_expert = (FakeModel(r, cancel=floor, **settings) for r in ROWS)
        self.models = base, expert, anti_expert
        self.trio = Trio(*self.models, steering=STEERING)
        self.reading = Reading(lambda _messages: PASSAGES, readers)
        self.speaker = TrioSpeaker(
            self.trio,
            (PLAIN,) * 3,
            (VOCAB,) * 3,
            VOCAB.end_of_generation,
            self.floor,
            drafter=Drafter(self.trio, draft),
            reading=self.reading,
            expert_alone=self.expert_alone,
        )

    def expert_alone(self) -> AloneSpeaker:
        return AloneSpeaker(
            "expert", EXPERT_ALONE, FakeModel(knowing(2)), PLAIN, reading=self.reading
        )

    @property
    def evaluated(self) -> int:
        return self.models[0].evaluated

    def ask(self, question: str = QUESTION, **settings: Any) -> Turn:
        turn = self.speaker.reply(question, max_tokens=80, **settings)
        list(turn)
        return turn


def plain_scores(
    rows: Sequence[Rows], roles: Sequence[str], steering: Steering, turn: Turn, left_out: int | None
) -> list[float]:
    """log p of each byte of a reply by the fused rows, each of them made from nothing."""
    texts = [text for n, text in enumerate(TEXTS) if n != left_out]
    histories = []
    for role in roles:
        reads = texts and role in ROLES[turn.read.readers]
        messages = with_passages(turn.asked.messages, texts) if reads else turn.asked.messages
        histories.append(list(encode(PLAIN(messages), VOCAB)))
    found = []
    for byte in turn.text.encode():
        said = [
            row(history).astype(np.float64) for row, history in zip(rows, histories, strict=True)
        ]
        if len(said) == 3:
            base, weight = said[0], steering.base_weight
            fused = weight * base + steering.alpha * (said[1] - weight * said[2])
        else:
            fused = said[0]
        found.append(fused[byte] - np.log(np.exp(fused - fused.max()).sum()) - fused.max())
        for history in histories:
            history.append(byte)
    return found


def plain_drops(
    turn: Turn,
    rows: Sequence[Rows] = ROWS,
    roles: Sequence[str] = ("base", "expert", "anti_expert"),
    steering: Steering = STEERING,
) -> list[tuple[float, ...]]:
    """The drops of the three sentences of `REPLY`, without any of the code that is tested."""
    whole = plain_scores(rows, roles, steering, turn, None)
    without = [plain_scores(rows, roles, steering, turn, n) for n in range(len(TEXTS))]
    data, found = turn.text.encode(), []
    for sentence in ("It is the franc.", "And 19 é towns.", "Bye."):
        start = data.index(sentence.encode())
        places = range(start, start + len(sentence.encode()))
        found.append(tuple(sum(whole[n] - each[n] for n in places) for each in without))
    return found
