"""The questions of the tasks here, and whether replies are right, for lm-evaluation-harness.

May touch: questions.json beside it, read only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).parent / "questions.json"
CHOICES = 4


def questions(**_: object) -> dict[str, Any]:
    """The one split, as the `datasets` package has it, which lm-evaluation-harness brings along."""
    return _split(json.loads(QUESTIONS.read_text("utf-8")))


def choices(**_: object) -> dict[str, Any]:
    """The same with four answers each, of which the one at the place `right` is."""
    return _split(with_choices())


def with_choices() -> list[dict[str, Any]]:
    """Each question with answers of others, and its own at every place in turn."""
    rows = json.loads(QUESTIONS.read_text("utf-8"))
    found = []
    for number, row in enumerate(rows):
        answers = [rows[(number + n) % len(rows)]["answer"] for n in range(1, CHOICES)]
        answers.insert(number % CHOICES, row["answer"])
        found.append({**row, "choices": answers, "right": number % CHOICES})
    return found


def judged(question: Mapping[str, str], replies: Sequence[str]) -> dict[str, float]:
    """1 where the reply holds the answer, else 0."""
    return {"right": float(question["answer"].casefold() in replies[0].casefold())}


def _split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"test": import_module("datasets").Dataset.from_list(rows)}
