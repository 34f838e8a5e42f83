"""Which passages a reply needs, asked of the models: it is scored again with each one left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.left_out import Progress, Reliance, reliances, touched
from edgeproxy.session.floor import Floor, Holder
from edgeproxy.session.reading import Read

Score = Callable[[Read, int], list[float]]
"""What would have been read, n -> log p, in nats, of each of the first n tokens of the reply."""


class Scoring(Holder):
    """Work that has the models from its beginning to its end; `cancel` stops it too."""

    def __init__(self, floor: Floor, waits: bool = False, cancel: Cancel | None = None) -> None:
        super().__init__(floor, waits)
        self._asked_to_stop = cancel

    def is_set(self) -> bool:
        """As `Holder.is_set`."""
        cancel = self._asked_to_stop
        return (cancel is not None and cancel.is_set()) or super().is_set()


def cite(
    reply: str,
    spans: Sequence[tuple[int, int]],
    read: Read,
    score: Score,
    work: Scoring,
    progress: Progress | None = None,
) -> list[Reliance]:
    """How much less likely each part of a reply is without each passage that it `read`.

    `spans` are the characters of it that each of its tokens is of. `score` needs the models, which
    `work` takes and gives back. `progress` hears of each evaluation before it begins. Raises as
    `Floor.take` and `score` do.
    """
    needed = touched(reply, spans)
    passages = [found.passage for found in read.found]
    if not (needed and passages):
        return reliances(reply, spans, passages, [], [])

    def scores(read: Read, what: str, done: int) -> list[float]:
        if progress is not None:
            progress(what, done / (len(passages) + 1))
        return score(read, needed)

    with work.step():
        try:
            whole = scores(read, "scoring the reply", 0)
            # From the last one on: prompts that begin alike for long follow each other.
            without = [
                scores(_without(read, number), f"scoring it without passage {number + 1}", done)
                for done, number in enumerate(reversed(range(len(passages))), 1)
            ]
        finally:
            work.let_go()
    return reliances(reply, spans, passages, whole, without[::-1])


def _without(read: Read, number: int) -> Read:
    return read._replace(found=read.found[:number] + read.found[number + 1 :])
