"""How often passages found for questions hold the answers, and what right replies owe to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeproxy.measure.answering import numbers_asked
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import share
from edgeproxy.measure.systems import PROXY, readers_of, role_of
from edgeproxy.session.messages import as_messages
from edgeproxy.session.reading import ROLES, Reading


def found_of(
    questions: Sequence[Question], replies: Mapping[str, Sequence[str]], reading: Reading
) -> Mapping[str, Any] | None:
    """Finding by itself and beside the replies, each as `share` has it.

    `recall` is the share of the questions for which a passage says what is asked for; `right` has,
    for each system that reads, the same share of the questions that it has answered right. A system
    that has answered none right is not in it.

    Only questions of the task that say which texts a right reply has (`Question.said`); None where
    there is none. Raises `DocumentError`.
    """
    held = {
        number: _is_found(question, reading)
        for number, question in enumerate(questions)
        if question.said and not question.is_general
    }
    if not held:
        return None
    right = {
        system: of_right
        for system, said in replies.items()
        if _reads(system, reading) and (of_right := _of_right(system, questions, said, held))
    }
    return {
        "recall": share(list(held.values())),
        "right": {system: share(of_right) for system, of_right in right.items()},
    }


def _reads(system: str, reading: Reading) -> bool:
    """Whether a passage reaches the replies of a system."""
    readers = readers_of(system) or reading.readers
    role = role_of(system)
    return bool(ROLES[readers]) if role == PROXY else role in ROLES[readers]


def _of_right(
    system: str, questions: Sequence[Question], said: Sequence[str], held: Mapping[int, bool]
) -> list[bool]:
    """Of each question that `system` has answered right, whether a passage holds the answer."""
    answered = zip(numbers_asked(system, questions), said, strict=True)
    return [held[n] for n, reply in answered if n in held and questions[n].verdict(reply).right]


def _is_found(question: Question, reading: Reading) -> bool:
    read = reading.read(as_messages(question.text), "all")
    return any(question.is_said_in(found.passage.full_text) for found in read.found)
