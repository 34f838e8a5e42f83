"""The questions of `factbook_ten.yaml`, and whether replies are right, for lm-evaluation-harness.

May touch: questions.json beside it, read only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).parent / "questions.json"


def questions(**_: object) -> dict[str, Any]:
    """The one split, as the `datasets` package has it, which lm-evaluation-harness brings along."""
    rows = json.loads(QUESTIONS.read_text("utf-8"))
    return {"test": import_module("datasets").Dataset.from_list(rows)}


def judged(question: Mapping[str, str], replies: Sequence[str]) -> dict[str, float]:
    """1 where the reply holds the answer, else 0."""
    return {"right": float(question["answer"].casefold() in replies[0].casefold())}
