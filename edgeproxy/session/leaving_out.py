"""Which passages a reply needs, asked of the models: it is scored again with each one left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.left_out import Progress, Reliance, reliances, touched
from edgeproxy.session.floor import Floor, Holder

if TYPE_CHECKING:
    from edgeproxy.session.reading import Read
    from edgeproxy.session.turn import Speaks, Turn


class _Work(Holder):
    """Scoring, which has the models from its beginning to its end; `cancel` stops it too."""

    def __init__(self, floor: Floor, waits: bool, cancel: Cancel | None) -> None:
        super().__init__(floor, waits)
        self._asked_to_stop = cancel

    def is_set(self) -> bool:
        """As `Holder.is_set`."""
        cancel = self._asked_to_stop
        return (cancel is not None and cancel.is_set()) or super().is_set()


def cite(
    turn: Turn,
    speaker: Speaks,
    tokens: Sequence[int],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Reliance]:
    """How much less likely each part of `turn`, of these tokens, is without each passage it read.

    See `Turn.cite`.
    """
    text, read = turn.text, turn.read
    spans = speaker.spans(tokens)
    needed = touched(text, spans)
    passages = [found.passage for found in read.found]
    if not (needed and passages):
        return reliances(text, spans, passages, [], [])
    said = tokens[:needed]
    work = _Work(speaker.floor, turn.waits, cancel)

    def score(read: Read, what: str, done: int) -> list[float]:
        if progress is not None:
            progress(what, done / (len(passages) + 1))
        return speaker.score(turn.asked, read, said, work)

    with work.step():
        try:
            whole = score(read, "scoring the reply", 0)
            # From the last one on: prompts that begin alike for long follow each other.
            without = [
                score(_without(read, number), f"scoring it without passage {number + 1}", done)
                for done, number in enumerate(reversed(range(len(passages))), 1)
            ]
        finally:
            work.let_go()
    return reliances(text, spans, passages, whole, without[::-1])


def _without(read: Read, number: int) -> Read:
    return read._replace(found=read.found[:number] + read.found[number + 1 :])
