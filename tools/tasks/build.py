"""Writes the tasks' files: FOLDER/TASK/train.jsonl, validation.jsonl and test.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.factbook.facts import ARCHIVE
from tools.tasks.facts import facts
from tools.tasks.gsm8k import gsm8k
from tools.tasks.intents import intents
from tools.tasks.lines import Line, find_data, write_lines

TASKS = ("facts", "intents", "gsm8k")


@dataclass(frozen=True)
class Sources:
    """Where the raw data of each task is, None where it is to be looked for; the facts' seed."""

    factbook: Path | None = None
    intents: Path | None = None
    gsm8k: Path | None = None
    seed: int = 0

    def splits(self, task: str) -> dict[str, list[Line]]:
        """The lines of a task, by split. Raises `UsageError` where its data is not found."""
        if task == "facts":
            return facts(find_data(self.factbook, ARCHIVE, "--factbook"), self.seed)
        if task == "intents":
            return intents(find_data(self.intents, "intents", "--intents"))
        return gsm8k(find_data(self.gsm8k, "gsm8k", "--gsm8k"))


def build(
    folder: Path, tasks: Iterable[str], sources: Sources, tell: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """Write the files of `tasks` into `folder`; how many lines each split has, by task."""
    counts: dict[str, dict[str, int]] = {}
    for task in tasks:
        tell(task)
        splits = sources.splits(task)
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, lines in splits.items():
            write_lines(folder / task / f"{split}.jsonl", lines)
        counts[task] = {split: len(lines) for split, lines in splits.items()}
    return counts
