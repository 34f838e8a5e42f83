"""Examples with passages of documents before their questions, so that a model learns to read.

Most examples get the passages that are found for them, some none, and some only passages that do
not hold the answer, on purpose or because those found for them do not. The last learn to say so: in
a reply that is JSON each value that other passages hold becomes null, any other reply becomes
`NOT_THERE`. An example whose answer no passage is seen to hold gets none: it would teach either to
invent what was not read or to deny what was. Which example gets what follows from its question and
a seed.

May touch: the index, read only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edgeproxy.documents.citing import Part, cite
from edgeproxy.documents.passage import TRAIL, Passage
from edgeproxy.documents.prompting import with_passages
from edgeproxy.prompts.messages import Message
from edgeproxy.tune.examples import Example

if TYPE_CHECKING:
    from edgeproxy.documents.search import Found

NONE, WRONG = 0.15, 0.25
"""The shares of the examples that get no passages, and passages without the answer, on purpose.

A tenth taught a model of 135 M parameters nothing (docs/documents.md).
"""

NOT_THERE = "The documents do not say."
NULL = "null"

_SPARE = 4
"""So many times the passages are looked at for those that hold the answer and those that do not."""


class Finds(Protocol):
    """A `PassageFinder`."""

    def __call__(self, messages: Sequence[Message], count: int | None = None) -> Sequence[Found]:
        """The passages for the last question, at most `count`."""


@dataclass
class Told:
    """How many examples got which passages."""

    found: int = 0
    none: int = 0
    wrong: int = 0


class Lessons:
    """Gives examples passages that `find` finds; `count` of them at most."""

    def __init__(self, find: Finds, count: int, seed: int) -> None:
        self._find, self._count, self._seed = find, count, seed
        self.told = Told()

    def __call__(self, example: Example) -> Example:
        """The example as it is learnt from. Raises `DocumentError`."""
        *asked, reply = example.messages
        chance = _chance(f"{self._seed} {example.question}")
        if chance < NONE:
            self.told.none += 1
            return example
        found = [each.passage for each in self._find(asked)]
        if not found:
            self.told.none += 1
            return example
        question = next(m.content for m in reversed(asked) if m.role == "user")
        wide = [each.passage for each in self._find(asked, _SPARE * self._count)]
        holding = _holding(reply.content, [*found, *wide], question)
        if not holding:
            self.told.none += 1
            return example
        others = [passage for passage in wide if passage not in holding][: self._count]
        if others and (chance < NONE + WRONG or holding.isdisjoint(found)):
            self.told.wrong += 1
            return _with(example, others, not_there(reply.content, [*holding], question))
        self.told.found += 1
        return _with(example, found, reply.content)


def not_there(reply: str, passages: Sequence[Passage], question: str) -> str:
    """The reply of somebody who has not read `passages`, which hold what it says."""
    if not reply.lstrip().startswith(("{", "[")):
        return NOT_THERE
    changed = reply
    for part in reversed(cite(reply, passages, question)):
        if any(_says(passage, part) for passage in part.passages):
            start, end = part.start, part.end
            if changed[start - 1 : start] == '"' and changed[end : end + 1] == '"':
                start, end = start - 1, end + 1
            changed = f"{changed[:start]}{NULL}{changed[end:]}"
    return changed if changed != reply else NOT_THERE


def _holding(reply: str, passages: Sequence[Passage], question: str) -> set[Passage]:
    """All passages that hold something of what the reply says anew."""
    left, holding = list(dict.fromkeys(passages)), set[Passage]()
    while found := {
        passage
        for part in cite(reply, left, question)
        for passage in part.passages
        if _says(passage, part)
    }:
        holding |= found
        left = [passage for passage in left if passage not in found]
    return holding


def _says(passage: Passage, part: Part) -> bool:
    """Whether it is not for its trail alone that the passage is the part's source.

    A trail has the words of what is asked for ("Communications - Internet country code").
    """
    trail = TRAIL.join(passage.trail).casefold()
    return any(part.said(span).casefold() not in trail for span in part.words)


def _with(example: Example, passages: Sequence[Passage], reply: str) -> Example:
    *asked, last = example.messages
    read = with_passages(asked, [passage.full_text for passage in passages])
    return replace(example, messages=(*read, replace(last, content=reply)))


def _chance(text: str) -> float:
    """A number from 0 to 1 that follows from `text`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


Lesson = Callable[[Example], Example]
"""What is learnt from an example."""
