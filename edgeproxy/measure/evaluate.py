"""Questions with known answers: reading them, and the figures. No models here.

May touch: the file of questions, read-only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproxy.core.utf8 import check_text, decode
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.measure.judging import words

SYSTEMS = ("base", "anti_expert", "expert", "proxy", "tuned")
"""What answers: each model alone, and the three together as the proxy."""

MAX_REPLY_TOKENS = 48
"""Long enough for the first line of an answer."""


@dataclass(frozen=True)
class Question:
    """A question, the answers that count as right, and what kind of question it is."""

    text: str
    answers: tuple[str, ...]
    kind: str | None = None


def read_questions(path: str | Path, limit: int | None = None) -> list[Question]:
    """The questions in a JSONL file, at most the first `limit`.

    A line is `{"question": ..., "answer": ..., "kind": ...}`; `answer` is text or a list of
    accepted texts, `kind` may be missing, other keys are left alone. Raises `UsageError` naming
    the file and line that is wrong.
    """
    questions: list[Question] = []
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if limit is not None and len(questions) == limit:
                    break
                if line.strip():
                    questions.append(_question(line, f"{path}:{number}"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a file of questions") from None
    if not questions:
        raise UsageError(f"{path}: there is no question in this file")
    return questions


def _question(line: bytes, where: str) -> Question:
    try:
        content = json.loads(decode(line, where))
    except PromptError:
        raise
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: this line is not JSON") from None
    if not isinstance(content, dict):
        raise UsageError(f'{where}: a line is {{"question": ..., "answer": ...}}')
    text, answers, kind = (content.get(key) for key in ("question", "answer", "kind"))
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{where}: question must be text")
    check_text(text, f"{where}: question")
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not answers:
        raise UsageError(f"{where}: answer must be text, or a list of accepted texts")
    if not all(isinstance(answer, str) and words(answer) for answer in answers):
        raise UsageError(f"{where}: an accepted answer must be text with a letter or digit in it")
    if kind is not None and not isinstance(kind, str):
        raise UsageError(f"{where}: kind must be text")
    return Question(text, tuple(answers), kind)


def figures(questions: Sequence[Question], right: Sequence[bool]) -> dict[str, Any]:
    """How one system did: `accuracy` (a share of 1) and `n`, also for each of the `kinds`."""
    kinds: dict[str, list[bool]] = {}
    for question, is_it in zip(questions, right, strict=True):
        if question.kind is not None:
            kinds.setdefault(question.kind, []).append(is_it)
    return {**_share(right), "kinds": {kind: _share(of_kind) for kind, of_kind in kinds.items()}}


def _share(right: Sequence[bool]) -> dict[str, Any]:
    return {"accuracy": sum(right) / len(right), "n": len(right)}


def gap_closed(systems: Mapping[str, Mapping[str, Any]]) -> float | None:
    """(proxy - base) / (tuned - base) of the accuracies: the paper's measure.

    None where one of the three was not measured, or where tuning gained nothing.
    """
    if not {"base", "proxy", "tuned"} <= set(systems):
        return None
    base, proxy, tuned = (float(systems[name]["accuracy"]) for name in ("base", "proxy", "tuned"))
    return (proxy - base) / (tuned - base) if tuned > base else None
