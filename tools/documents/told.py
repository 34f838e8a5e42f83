"""A reply as it is measured: what was asked of whom, what it read, what it took."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeproxy.documents.passage import Passage
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.systems import role_of
from edgeproxy.session.turn import Turn

_PLURAL = re.compile(r"(?<=\w{3})s\b")


@dataclass(frozen=True)
class Told:
    """A reply of a system to a question, and the passages that were read for it.

    `first_seconds` is how long it took to the first token, `seconds` to the last one, both without
    `find_seconds`, in which the passages were found, or remembered of the system before. `beside`
    is what was noted with it.
    """

    system: str
    question: Question
    text: str
    first_seconds: float
    seconds: float
    find_seconds: float
    prompt_tokens: int
    passages: tuple[Passage, ...]
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether the question's judge says so."""
        return self.question.verdict(self.text).right

    @property
    def is_answerable(self) -> bool:
        """Whether a passage that was read has what was asked for."""
        return any(self.is_said_in(passage) for passage in self.passages)

    def is_said_in(self, passage: Passage) -> bool:
        """Whether a passage has what was asked for, or its plural: "Kuwaiti dinars"."""
        said = self.question.is_said_in
        return said(passage.full_text) or said(_PLURAL.sub("", passage.full_text))


def with_said(question: Question) -> Question:
    """A question that says which texts a right reply contains: its answers, where it does not.

    One whose answers are no such texts, as a pattern is none, stays as it is.
    """
    if question.said or question.judge not in ("contains", "exact"):
        return question
    return replace(question, said=question.answers)


def own_words(question: Question) -> Question:
    """A question for JSON as a model is asked that answers in words of its own, by `contains`.

    One that does not say which texts a right reply contains is asked as it is.
    """
    if not question.said or question.judge != "json":
        return question
    return replace(question, answers=question.said, judge="contains")


def question_for(system: str, question: Question) -> Question:
    """A question as it is asked of a system: of the base in words of its own."""
    return own_words(question) if role_of(system) == "base" else question


def as_line(system: str, question: Question, text: str, turn: Turn) -> dict[str, Any]:
    """A reply as a line of JSON has it, with what its turn says of it."""
    stats = turn.stats
    return {
        "system": system,
        "question": question.text,
        "kind": question.kind,
        "reply": text,
        "right": question.verdict(text).right,
        "first_seconds": round(stats.first_seconds, 4),
        "seconds": round(stats.seconds, 4),
        "prompt_tokens": turn.usage.prompt,
        "tokens": stats.tokens,
        "passages": [
            {
                "id": found.passage.id,
                "file": str(found.passage.path),
                "number": found.passage.number,
                "trail": list(found.passage.trail),
                "place": found.passage.place,
                "text": found.passage.text,
            }
            for found in turn.read.found
        ],
    }


def of_line(line: Mapping[str, Any], question: Question) -> Told:
    """The reply that a line has. Raises `UsageError` for a line that is none of a reply."""
    try:
        return Told(
            line["system"],
            question_for(line["system"], question),
            line["reply"],
            float(line["first_seconds"]),
            float(line["seconds"]),
            float(line["find_seconds"]),
            int(line["prompt_tokens"]),
            tuple(
                Passage(
                    one["id"],
                    Path(one["file"]),
                    one["number"],
                    tuple(one["trail"]),
                    one["place"],
                    one["text"],
                )
                for one in line["passages"]
            ),
            line.get("beside", {}),
        )
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"a line of replies, of {line.get('system')!r}, lacks something; name another folder "
            "with --out"
        ) from None
