"""Explained replies of any words, made by fakes: what is real is all that comes after the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.threads import Crew
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.explain import RECORD, Explanation, explain
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import Recipe, Role
from tests.helpers.fakes import FakeModel, Rows, drawn, saying

PLAIN = FORMATS["plain"]
MORE = tuple(f" word{n}" for n in range(60))
"""Words that nobody says, for the lists to have some."""

WANTED, OTHER = 9.0, 10.0
"""The logits of what is said, and at every third place of what the base alone would say."""


class Files:
    """What a session closes."""

    def close(self) -> None:
        """Nothing is open."""


def session_of(trio: Trio, draft: Draft = "off", name: str = "fake") -> Session:
    """A session of parts, without files."""
    vocab, role = trio.vocab, Role(Path("none.gguf"))
    speaker = TrioSpeaker(
        trio, (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation, drafter=Drafter(trio, draft)
    )
    return Session(
        Recipe(name, role, role, role, steering=trio.steering),
        speaker,
        Files(),
        lambda _role: SoloSpeaker(saying({}), PLAIN),
        matches={},
        crew=Crew(1, 1, 1),
        memory=Estimate(0, 0, 0, 0, 0, 0),
    )


def vocab_of(words: Sequence[bytes]) -> Vocab:
    """These words, others besides, and a token that ends a reply; every prompt is one token."""
    tokens = dict.fromkeys([b"?", *words, *(word.encode() for word in MORE)])
    return Vocab(
        tokens=(*tokens, b"<|end|>"),
        kinds=(*[Kind.NORMAL] * len(tokens), Kind.CONTROL),
        end_of_generation=frozenset((len(tokens),)),
        tokenize=lambda text, first, special: [0],
    )


def trio_of(words: Sequence[str | bytes], steering: Steering = PAPER) -> Trio:
    """Three models that together say `words`, one token each; the base errs at every third."""
    said = [word if isinstance(word, bytes) else word.encode() for word in words]
    vocab = vocab_of(said)
    place = {token: n for n, token in enumerate(vocab.tokens)}
    wanted = [*(place[word] for word in said), len(vocab) - 1]

    def rows(seed: int, boost: float, other: float) -> Rows:
        def row(history: Sequence[int]) -> NDArray[np.float32]:
            step = min(len(history) - 1, len(wanted) - 1)
            # All three know the same things, and each some of its own.
            out = drawn((0, step), 1.5, len(vocab)) + drawn((seed, step), 1.0, len(vocab))
            out[wanted[step]] += boost
            if step % 3 == 2 and step < len(said):
                out[(wanted[step] + 5) % len(place)] += other
            return out

        return row

    base, expert, anti_expert = (
        FakeModel(rows(seed, boost, other), vocab=vocab)
        for seed, boost, other in ((1, WANTED, OTHER), (2, WANTED + 4, 2.0), (3, 4.0, 6.0))
    )
    return Trio(base, expert, anti_expert, steering)


def explained(
    words: Sequence[str | bytes],
    question: str = "What is it?",
    steering: Steering = PAPER,
    record: int = RECORD,
) -> Explanation:
    """A reply of `words`, explained."""
    session = session_of(trio_of(words, steering))
    turn = session.reply([Message("user", question)], record=record, max_tokens=len(words) + 1)
    list(turn)
    return explain(turn, session)
