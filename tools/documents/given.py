"""Which passage a reply is given for what it answers, and whether that is the one that holds it."""

from __future__ import annotations

import json
from typing import Literal

from edgeproxy.documents.citing import Part, cite
from edgeproxy.documents.passage import Passage
from edgeproxy.measure.evaluate import Question
from edgeproxy.text.words import stands_in, words
from tools.documents.told import Told


def beside(question: Question) -> tuple[str, ...]:
    """The texts of an accepted answer, an object, that are not what was asked for.

    Of {"country": "Chad", "field": "capital", "value": "N'Djamena"} "Chad" and "capital".
    """
    try:
        found = json.loads(question.answers[0])
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, dict):
        return ()
    texts = (text for text in found.values() if isinstance(text, str))
    return tuple(text for text in texts if not question.is_said_in(text))


def holding(told: Told) -> list[Passage]:
    """The passages in which an accepted value stands, whatever they are about."""
    return [passage for passage in told.passages if told.is_said_in(passage)]


def holding_about(told: Told, of: Question) -> list[Passage]:
    """Those of `holding` that name what the question is about.

    `of` is the question whose accepted answer names that, in its first text beside the value.
    """
    about = [words(text) for text in beside(of)[:1]]
    return [p for p in holding(told) if all(stands_in(a, words(p.full_text)) for a in about)]


def parts_of_answer(told: Told, of: Question) -> list[Part]:
    """The parts of a reply, with their passages, that say something besides what was asked."""
    known = [words(text) for text in beside(of)]
    parts = cite(told.text, told.passages, told.question.text)
    return [part for part in parts if words(part.text) not in known]


def is_given_its_passage(told: Told, of: Question) -> bool | None:
    """Whether the part that says the value is given a passage that holds it, without reserve.

    None for a reply that is not right, or for which no passage holds the value.
    """
    holds = holding_about(told, of) or holding(told)
    if not told.right or not holds:
        return None
    saying = [p for p in parts_of_answer(told, of) if told.question.is_said_in(p.text)]
    return any(
        source.passage in holds and not source.lacks for part in saying for source in part.sources
    )


Given = Literal["one", "with a warning", "none"]


def is_given(told: Told, of: Question) -> Given | None:
    """Which passage the answer is given, where none of them holds the value.

    The warning is that the passage does not name what was asked about. None where a passage holds
    the value, where nothing was read, and where the question does not say which texts a right reply
    contains.
    """
    if not told.passages or not told.question.said or told.is_answerable:
        return None
    sources = [source for part in parts_of_answer(told, of) for source in part.sources]
    if not sources:
        return "none"
    return "with a warning" if all(source.lacks for source in sources) else "one"
