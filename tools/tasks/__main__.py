"""Makes the three tasks on which edgeproxy is measured with real models.

`python -m tools.tasks build FOLDER` writes FOLDER/facts, FOLDER/intents and FOLDER/gsm8k, each with
train.jsonl, validation.jsonl and test.jsonl, in edgeproxy's layout of questions. The raw data is
looked for in shared/data beside the folders above. 100 questions on general things, for
`edgeproxy eval --general`, are in tools/tasks/general.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from edgeproxy.cli.ui.progress import Working
from tools.command import add_json, make_parser, run
from tools.factbook.facts import ARCHIVE
from tools.tasks.facts import facts
from tools.tasks.gsm8k import gsm8k
from tools.tasks.intents import intents
from tools.tasks.lines import Line, find_data, write_lines

TASKS = ("facts", "intents", "gsm8k")


def main() -> int:
    """Write what the command line asks for; the exit code."""
    parser = make_parser("tools.tasks", __doc__)
    parser.add_argument("step", choices=["build"], help="build writes the tasks' files")
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument(
        "--only", choices=TASKS, action="append", help="this task only; may be repeated"
    )
    parser.add_argument("--factbook", type=Path, help=f"{ARCHIVE}, if it is not found")
    parser.add_argument("--intents", type=Path, help="folder of the intents, if it is not found")
    parser.add_argument("--gsm8k", type=Path, help="folder of GSM8K, if it is not found")
    parser.add_argument("--seed", type=int, default=0, help="of the facts picked (default 0)")
    add_json(parser)
    return run(parser, _build, _as_text)


def _build(asked: argparse.Namespace, working: Working) -> dict[str, dict[str, int]]:
    def make_facts() -> dict[str, list[Line]]:
        return facts(find_data(asked.factbook, ARCHIVE, "--factbook"), asked.seed)

    def make_intents() -> dict[str, list[Line]]:
        return intents(find_data(asked.intents, "intents", "--intents"))

    def make_gsm8k() -> dict[str, list[Line]]:
        return gsm8k(find_data(asked.gsm8k, "gsm8k", "--gsm8k"))

    makers: dict[str, Callable[[], dict[str, list[Line]]]] = {
        "facts": make_facts,
        "intents": make_intents,
        "gsm8k": make_gsm8k,
    }
    counts: dict[str, dict[str, int]] = {}
    for name in asked.only or TASKS:
        working.tell(name)
        splits = makers[name]()
        folder = asked.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for split, lines in splits.items():
            write_lines(folder / f"{split}.jsonl", lines)
        counts[name] = {split: len(lines) for split, lines in splits.items()}
    return counts


def _as_text(counts: dict[str, dict[str, int]]) -> str:
    rows = (
        f"{name:8} " + ", ".join(f"{split} {n}" for split, n in splits.items())
        for name, splits in counts.items()
    )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
