"""The task "intents": utterances of SNIPS (CC0) to JSON with an intent and its slots."""

from __future__ import annotations

import json
from pathlib import Path

from edgeproxy.errors import UsageError
from tools.tasks.lines import SPLITS, Line, read_lines


def intents(folder: Path) -> dict[str, list[Line]]:
    """The three files of `folder` as they are, judged field by field."""
    return {
        split: [_line(line) for line in read_lines(folder / f"{split}.jsonl")] for split in SPLITS
    }


def _line(line: Line) -> Line:
    try:
        slots = json.loads(line["answer"])
    except ValueError:
        slots = None
    if not isinstance(slots, dict):
        raise UsageError(
            f"{line['question']!r}: the answer {line['answer']!r} is not a JSON object"
        )
    return {**line, "judge": "json"}
