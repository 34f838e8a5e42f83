"""Examples with passages of documents before their questions, so that a model learns to read.

Most examples get the passages that are found for them, some none, and some only passages that do
not hold the answer. Those learn to say so: in a reply that is JSON each value that the right
passages hold becomes null, any other reply becomes `NOT_THERE`. Which example gets what follows
from its question and a seed.

May touch: the index, read only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edgeproxy.documents.citing import cite
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.prompting import with_passages
from edgeproxy.prompts.messages import Message
from edgeproxy.tune.examples import Example

if TYPE_CHECKING:
    from edgeproxy.documents.search import Found

NONE, WRONG = 0.2, 0.1
"""The shares of the examples that get no passages, and passages without the answer."""

NOT_THERE = "The documents do not say."
NULL = "null"

_SPARE = 4
"""So many times the passages are looked at for those that do not hold the answer."""


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
        if chance < NONE + WRONG:
            wrong = self._wrong(asked, reply.content)
            if wrong is not None:
                self.told.wrong += 1
                passages, content = wrong
                return _with(example, passages, content)
        found = [each.passage for each in self._find(asked)]
        if not found:
            self.told.none += 1
            return example
        self.told.found += 1
        return _with(example, found, reply.content)

    def _wrong(self, asked: Sequence[Message], reply: str) -> tuple[list[Passage], str] | None:
        """Passages that do not hold the answer, and the reply that says so.

        None where no passage holds it: then nobody knows which do not.
        """
        question = next(m.content for m in reversed(asked) if m.role == "user")
        found = [each.passage for each in self._find(asked, _SPARE * self._count)]
        holding = {p for part in cite(reply, found, question) for p in part.passages}
        if not holding:
            return None
        others = [passage for passage in found if passage not in holding][: self._count]
        if not others or any(part.passages for part in cite(reply, others, question)):
            return None
        return others, not_there(reply, list(holding), question)


def not_there(reply: str, passages: Sequence[Passage], question: str) -> str:
    """The reply of somebody who has not read `passages`, which hold what it says."""
    if not reply.lstrip().startswith(("{", "[")):
        return NOT_THERE
    changed = reply
    for part in reversed(cite(reply, passages, question)):
        if part.passages:
            start, end = part.start, part.end
            if changed[start - 1 : start] == '"' and changed[end : end + 1] == '"':
                start, end = start - 1, end + 1
            changed = f"{changed[:start]}{NULL}{changed[end:]}"
    return changed if changed != reply else NOT_THERE


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
