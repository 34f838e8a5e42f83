"""Questions with known answers, read from a file. No models here.

May touch: the file of questions, read-only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from edgeproxy.core.utf8 import check_text, decode
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.measure.judging import (
    DEFAULT_JUDGE,
    JUDGES,
    LINE_TOKENS,
    Verdict,
    is_said,
    words,
)
from edgeproxy.measure.judging import judge as named


@dataclass(frozen=True)
class Question:
    """A question, the answers that count as right, and what kind of question it is.

    `judge` is the name of the rule that answers are accepted by, `choices` are labels and texts,
    `said` are texts of which a reply that is right in its own way has one, and a question
    `is_general` that is outside of the task.
    """

    text: str
    answers: tuple[str, ...]
    kind: str | None = None
    judge: str = DEFAULT_JUDGE
    choices: tuple[tuple[str, str], ...] = ()
    said: tuple[str, ...] = ()
    is_general: bool = False

    @property
    def max_tokens(self) -> int:
        """How many tokens of a reply are asked for where nobody says.

        Where all of a reply is the answer, no more than it has bytes, and no token has fewer than
        one: a model that does not answer so would go on to the judge's limit each time.
        """
        most = JUDGES[self.judge].max_tokens
        if self.judge not in ("exact", "json"):
            return most
        return min(most, max(LINE_TOKENS, *(len(answer.encode()) for answer in self.answers)))

    def verdict(self, reply: str) -> Verdict:
        """What its judge says of a reply. Raises `UsageError` for a pattern that takes too long."""
        return JUDGES[self.judge](reply, self.answers, dict(self.choices))

    def is_said_in(self, reply: str) -> bool:
        """Whether what it asks for is said anywhere in a reply, in whatever form."""
        return is_said(reply, self.said)


def read_questions(
    path: str | Path, limit: int | None = None, judge: str = DEFAULT_JUDGE
) -> list[Question]:
    """The questions in a JSONL file, at most the first `limit`; `judge` is theirs by default.

    A line is `{"question": ..., "answer": ...}`. `answer` is text, a number, a JSON object (which
    the judge `json` compares), or a list of accepted ones. `judge`, `kind`, `choices` (texts, or
    an object of texts by their labels) and `contains` (a text, or several) may be missing, other
    keys are left alone. Raises `UsageError` naming the file and line that is wrong.
    """
    named(judge)
    questions: list[Question] = []
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if limit is not None and len(questions) == limit:
                    break
                if line.strip():
                    questions.append(_question(line, f"{path}:{number}", judge))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a file of questions") from None
    if not questions:
        raise UsageError(f"{path}: there is no question in this file")
    return questions


def _question(line: bytes, where: str, judge: str) -> Question:
    try:
        content = json.loads(decode(line, where))
    except PromptError:
        raise
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: this line is not JSON") from None
    if not isinstance(content, dict):
        raise UsageError(f'{where}: a line is {{"question": ..., "answer": ...}}')
    text, kind = content.get("question"), content.get("kind")
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{where}: question must be text")
    check_text(text, f"{where}: question")
    if kind is not None and not isinstance(kind, str):
        raise UsageError(f"{where}: kind must be text")
    given = content.get("answer")
    accepted = given if isinstance(given, list) else [given]
    judge = _judge(content, accepted, judge, where)
    choices = _choices(content.get("choices"), where)
    answers = tuple(_answer(answer, where) for answer in accepted)
    if not answers:
        raise UsageError(f"{where}: answer must be text, or a list of accepted texts")
    for answer in answers:
        fault = JUDGES[judge].fault(answer, dict(choices))
        if fault is not None:
            raise UsageError(f"{where}: the accepted answer {answer[:60]!r} {fault}")
    return Question(text, answers, kind, judge, choices, _said(content.get("contains"), where))


def _judge(content: Mapping[str, Any], accepted: Sequence[object], judge: str, where: str) -> str:
    """The name of the judge that a line asks for, or else `judge`."""
    has_object = any(isinstance(answer, dict) for answer in accepted)
    name = content.get("judge", "json" if has_object else judge)
    if not isinstance(name, str) or name not in JUDGES:
        raise UsageError(f"{where}: there is no judge {name!r}; there are {', '.join(JUDGES)}")
    if has_object and name != "json":
        raise UsageError(f"{where}: an answer that is an object is judged by json, not by {name}")
    return name


def _answer(answer: object, where: str) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict | int | float) and not isinstance(answer, bool):
        return json.dumps(answer, ensure_ascii=False)
    raise UsageError(
        f"{where}: answer must be text, a number, an object, or a list of accepted ones"
    )


def _choices(given: object, where: str) -> tuple[tuple[str, str], ...]:
    """Labels and texts; those of a list are A, B, C and so on."""
    if given is None:
        return ()
    pairs = list(given.items()) if isinstance(given, dict) else []
    if isinstance(given, list) and len(given) <= len(ascii_uppercase):
        pairs = list(zip(ascii_uppercase, given, strict=False))
    if len(pairs) < 2 or not all(isinstance(text, str) and words(text) for _, text in pairs):
        raise UsageError(
            f"{where}: choices must be 2 to {len(ascii_uppercase)} texts, or an object of texts by "
            "their labels"
        )
    return tuple(pairs)


def _said(given: object, where: str) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if texts is None:
        return ()
    if not isinstance(texts, list) or not all(isinstance(t, str) and words(t) for t in texts):
        raise UsageError(f"{where}: contains must be text, or a list of texts")
    return tuple(texts)
