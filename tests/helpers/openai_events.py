"""Events of replies for the writers of OpenAI's protocol, without an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.compared import Compared, Edge
from edgeproxy.decode.drafted import Drafted
from edgeproxy.decode.pieces import FinishReason, Piece
from edgeproxy.documents.cited import Part, Source
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.search import Found
from edgeproxy.serve.events import Ended, Event, Said
from edgeproxy.serve.openai import stamps
from edgeproxy.serve.protocol import Known, Request, Sent
from edgeproxy.session.reading import NOTHING, Read
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Changed, Opinion, Scored, Stats, Step, Turn, Usage

WORDS = (" Lima", "é".encode()[:1], "é".encode()[1:], ".", " Paris")
END = len(WORDS)
VOCAB = Vocab(
    tokens=(*(w if isinstance(w, bytes) else w.encode() for w in WORDS), b"<|end|>"),
    kinds=(*[Kind.NORMAL] * len(WORDS), Kind.CONTROL),
    end_of_generation=frozenset((END,)),
)
KNOWN = Known(
    "factbook",
    ("base", "expert", "anti_expert"),
    n_ctx=1024,
    most_tokens=512,
    has_documents=True,
    vocab=VOCAB,
)

USAGE = Usage(prompt=12, kept=5, completion=5)
STATS = Stats(
    5, 0.25, 1.25, Drafted(cycles=2, drafted=4, accepted=3, tokens=5), changed=Changed(1, 4)
)


@dataclass
class FakeTurn:
    """What writers ask of a turn."""

    usage: Usage = USAGE
    stats: Stats = STATS
    read: Read = NOTHING
    steps: Sequence[Step] = ()
    text: str = ""
    parts: Sequence[Part] = ()

    def sources(self) -> list[Part]:
        return list(self.parts)


def ended(reason: FinishReason = "stop", turn: FakeTurn | None = None) -> Ended:
    """The end of a fake turn."""
    return Ended(reason, cast(Turn, turn or FakeTurn()), cast(Session, None))


def step(token: int, logprob: float, best: Sequence[tuple[int, float]], drafted: bool) -> Step:
    """What four rows say: the fused one has `best`, the base finds the token impossible."""
    scored = tuple(Scored(*each) for each in best)
    fused = Opinion(scored, Scored(token, logprob))
    base = Opinion(scored, Scored(token, float("-inf")))
    expert = Opinion(scored, Scored(token, logprob / 2))
    compared = Compared(0.5, 0.1, True, (), 0.0, 0.0, Edge(2.0, (), 0.0), False)
    return Step(base, expert, fused, fused, compared, drafted)


def steps() -> list[Event]:
    """A reply of five tokens, " Limaé." and what ends it, with what three models say of each."""
    said = [
        (" Lima", 0, -0.1, [(0, -0.1), (4, -2.5)]),
        ("", 1, -0.5, [(1, -0.5), (3, -1.0)]),
        ("é", 2, -0.25, [(2, -0.25), (END, -3.0)]),
        (".", 3, -1.5, [(END, -0.75), (3, -1.5)]),
    ]
    return [
        *(
            Said(Piece(text, token, logprob), step(token, logprob, best, token == 2))
            for text, token, logprob, best in said
        ),
        Said(Piece("", END, -0.01, "stop"), step(END, -0.01, [(END, -0.01)], False)),
        ended(),
    ]


def plain_steps(reason: FinishReason = "stop") -> list[Event]:
    """The same reply of one model alone, of which nothing is recorded."""
    bare = [replace(each, step=None) for each in steps() if isinstance(each, Said)]
    return [*bare, ended(reason)]


def with_documents() -> Ended:
    """The end of a turn that has read two passages, and said what one of them has."""
    peru, chile = (
        Passage(n, Path("secret") / "folder" / f"{name.lower()}.txt", 0, (name,), "page 3", text)
        for n, (name, text) in enumerate((("Peru", "Lima"), ("Chile", "Santiago")), 1)
    )
    part = Part(0, 4, "Lima", (Source(peru, "Lima", ("Bolivia",)),))
    read = Read(tuple(Found(each, 1.0, ()) for each in (peru, chile)), "base")
    return ended(turn=FakeTurn(read=read, parts=(part,)))


@dataclass
class Clock:
    """Ids that count, a day that stays, and a clock that moves by 12 ms when it is looked at."""

    ids: int = 0
    looked: int = 0
    prefixes: list[str] = field(default_factory=list)

    def new_id(self, prefix: str) -> str:
        self.ids += 1
        return f"{prefix}{self.ids}"

    def ticks(self) -> float:
        self.looked += 1
        return 0.012 * self.looked


NOW = 1_800_000_000


def hold_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ids count from 1, and times stand still."""
    clock = Clock()
    monkeypatch.setattr(stamps, "new_id", clock.new_id)
    monkeypatch.setattr(stamps, "now", lambda: NOW)
    monkeypatch.setattr(stamps, "ticks", clock.ticks)


def streamed(request: Request, events: Sequence[Event], vocab: Vocab = VOCAB) -> list[Sent]:
    """All that a stream sends."""
    writer = request.make_writer(vocab)
    return [sent for event in events for sent in writer.take(event)]


def whole(request: Request, events: Sequence[Event], vocab: Vocab = VOCAB) -> dict[str, Any]:
    """What a plain call answers."""
    writer = request.make_writer(vocab)
    for event in events:
        writer.take(event)
    return writer.whole()


def events_of(turn: Turn, session: Session) -> Iterator[Event]:
    """The events of a turn, as an engine would tell them."""
    for number, piece in enumerate(turn):
        is_step = number < len(turn.steps) and piece.token is not None
        yield Said(piece, turn.steps[number] if is_step else None)
    assert turn.finish_reason is not None
    yield Ended(turn.finish_reason, turn, session)
