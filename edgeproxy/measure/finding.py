"""How often the passages that are found for a question hold its answer: finding by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import share
from edgeproxy.session.messages import as_messages
from edgeproxy.session.reading import Reading


def recall(questions: Sequence[Question], reading: Reading) -> Mapping[str, Any] | None:
    """The share of the questions for which a passage says what is asked for, as `share` has it.

    Only questions of the task that say which texts a right reply has (`Question.said`); None where
    there is none. Raises `DocumentError`.
    """
    asked = [question for question in questions if question.said and not question.is_general]
    if not asked:
        return None
    return share([_is_found(question, reading) for question in asked])


def _is_found(question: Question, reading: Reading) -> bool:
    read = reading.read(as_messages(question.text), "all")
    return any(question.is_said_in(found.passage.full_text) for found in read.found)
