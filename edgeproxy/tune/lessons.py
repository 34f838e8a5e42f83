"""Examples with passages of documents before their questions, so that a model learns to read.

Most examples get the passages that are found for them and some none. Some are learnt from twice:
once more with passages that do not hold the answer, and a reply that says so. In a reply that is
JSON each value that other passages hold becomes null, any other reply becomes `NOT_THERE`. Where
the passages found lack the answer, which others hold, that is all an example teaches. One whose
answer no passage is seen to hold gets none: with passages it would teach either to invent values or
to deny those that have been read. What an example gets follows from its question and a seed.

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
"""The shares of the examples that get no passages, and also passages without the answer."""

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
    """How many lessons have which passages."""

    found: int = 0
    none: int = 0
    wrong: int = 0


class Lessons:
    """Gives examples passages that `find` finds; `count` of them at most."""

    def __init__(self, find: Finds, count: int, seed: int) -> None:
        self._find, self._count, self._seed = find, count, seed
        self.told = Told()

    def __call__(self, example: Example) -> list[Example]:
        """The example as it is learnt from, once or twice. Raises `DocumentError`."""
        *asked, reply = example.messages
        chance = _chance(f"{self._seed} {example.question}")
        found = [] if chance < NONE else [each.passage for each in self._find(asked)]
        lessons = []
        if found:
            question = next(m.content for m in reversed(asked) if m.role == "user")
            wide = [each.passage for each in self._find(asked, _SPARE * self._count)]
            holding = _holding(reply.content, [*found, *wide], question)
            if not holding.isdisjoint(found):
                self.told.found += 1
                lessons.append(_with(example, found, reply.content))
            others = [passage for passage in wide if passage not in holding][: self._count]
            if holding and others and (not lessons or chance < NONE + WRONG):
                self.told.wrong += 1
                denial = not_there(reply.content, [*holding], question)
                lessons.append(_with(example, others, denial))
        if not lessons:
            self.told.none += 1
            lessons.append(example)
        return lessons


def not_there(reply: str, passages: Sequence[Passage], question: str) -> str:
    """The reply of somebody who has not read `passages`, which hold what it says."""
    if not reply.lstrip().startswith(("{", "[")):
        return NOT_THERE
    changed = reply
    for part, _ in reversed(_answer(reply, passages, question)):
        start, end = part.start, part.end
        if changed[start - 1 : start] == '"' and changed[end : end + 1] == '"':
            start, end = start - 1, end + 1
        changed = f"{changed[:start]}{NULL}{changed[end:]}"
    return changed if changed != reply else NOT_THERE


def _holding(reply: str, passages: Sequence[Passage], question: str) -> set[Passage]:
    """All passages that hold something of the answer."""
    left, holding = list(dict.fromkeys(passages)), set[Passage]()
    while found := {p for _, held in _answer(reply, left, question) for p in held}:
        holding |= found
        left = [passage for passage in left if passage not in found]
    return holding


def _answer(
    reply: str, passages: Sequence[Passage], question: str
) -> list[tuple[Part, list[Passage]]]:
    """The parts of a reply that texts of passages hold, with these passages.

    The trail to a passage names what is asked for ("Government - Independence"), and so may a part
    of the reply: it is none of the answer where the passage of another part has it in its trail.
    """
    parts = cite(reply, passages, question)
    held = [(part, [p for p in part.passages if not _is_named(part, p)]) for part in parts]
    return [
        (part, saying)
        for part, saying in held
        if saying
        and not any(
            others and all(_is_named(part, passage) for passage in others)
            for other, others in held
            if other is not part
        )
    ]


def _is_named(part: Part, passage: Passage) -> bool:
    """Whether the trail to a passage has all of a part that passages hold."""
    trail = TRAIL.join(passage.trail).casefold()
    return all(part.said(span).casefold() in trail for span in part.words)


def _with(example: Example, passages: Sequence[Passage], reply: str) -> Example:
    *asked, last = example.messages
    read = with_passages(asked, [passage.full_text for passage in passages])
    return replace(example, messages=(*read, replace(last, content=reply)))


def _chance(text: str) -> float:
    """A number from 0 to 1 that follows from `text`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


Lesson = Callable[[Example], Sequence[Example]]
"""What is learnt from an example: itself, in one way or several."""
