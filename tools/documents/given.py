"""Which passage a reply is given for what it answers, and whether that is the one that holds it."""

from __future__ import annotations

import json
from collections.abc import Sequence

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
    return [p for p in told.passages if told.question.is_said_in(p.full_text)]


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
    """Whether the part that says the value is given a passage that holds it.

    None for a reply that is not right, or for which no passage holds the value.
    """
    holds = holding_about(told, of) or holding(told)
    if not told.right or not holds:
        return None
    saying = [p for p in parts_of_answer(told, of) if told.question.is_said_in(p.text)]
    return any(passage in holds for part in saying for passage in part.passages)


def is_given_one(told: Told, of: Question) -> bool | None:
    """Whether any part of the answer is given a passage, where none of them holds the value.

    None where a passage does, where nothing was read, and where the question does not say which
    texts a right reply contains.
    """
    if not told.passages or not told.question.said or told.is_answerable:
        return None
    return any(part.sources for part in parts_of_answer(told, of))


def share_of(found: Sequence[bool | None]) -> list[bool]:
    """Those that apply."""
    return [one for one in found if one is not None]
