"""Makes the three tasks on which edgeproxy is measured with real models, and measures it.

`build FOLDER` writes FOLDER/facts, FOLDER/intents and FOLDER/gsm8k, each with train.jsonl,
validation.jsonl and test.jsonl, in edgeproxy's layout of questions. The raw data is looked for in
shared/data beside the folders above. 100 questions on general things, for
`edgeproxy eval --general`, are in tools/tasks/general.jsonl.

`measure FOLDER` makes the README's table on real models, from nothing, in hours: it tunes, fits and
evaluates each row, by edgeproxy's own commands, and prints the table. Ctrl-C ends it, also a kill;
the same command goes on. `--list` tells what is still to do, `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError
from tools.command import add_json, make_parser, run
from tools.factbook.facts import ARCHIVE
from tools.models.real import default_folder
from tools.tasks.build import TASKS, Sources, build
from tools.tasks.child import run_edgeproxy
from tools.tasks.measure import Measuring, unfinished
from tools.tasks.rows import Row, choose
from tools.tasks.table import table

Counts = dict[str, dict[str, int]]


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.tasks", __doc__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="build|measure")
    building = steps.add_parser("build", help="write the tasks' files")
    building.add_argument("folder", type=Path, help="where to write them")
    building.add_argument(
        "--only", choices=TASKS, action="append", help="this task only; may be repeated"
    )
    add_json(building)
    measuring = steps.add_parser("measure", help="make the README's table on real models")
    measuring.add_argument("folder", type=Path, help="where all that is made is kept")
    measuring.add_argument("--only", metavar="NAME,...", help="these rows only")
    measuring.add_argument("--real", type=Path, metavar="MODELS", help="folder of the models")
    what = measuring.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the rows and what is to be done")
    what.add_argument("--table", action="store_true", help="print the table of what is there")
    for each in (building, measuring):
        each.add_argument("--factbook", type=Path, help=f"{ARCHIVE}, if it is not found")
        each.add_argument("--intents", type=Path, help="folder of the intents, if it is not found")
        each.add_argument("--gsm8k", type=Path, help="folder of GSM8K, if it is not found")
        each.add_argument("--seed", type=int, default=0, help="of the facts picked (default 0)")
    if parser.parse_args().step == "build":
        return run(parser, _build, _as_text)
    return run(parser, _measure, str)


def _sources(asked: argparse.Namespace) -> Sources:
    return Sources(asked.factbook, asked.intents, asked.gsm8k, asked.seed)


def _build(asked: argparse.Namespace, working: Working) -> Counts:
    return build(asked.folder, asked.only or TASKS, _sources(asked), working.tell)


def _as_text(counts: Counts) -> str:
    rows = (
        f"{name:8} " + ", ".join(f"{split} {n}" for split, n in splits.items())
        for name, splits in counts.items()
    )
    return "\n".join(rows)


def _measure(asked: argparse.Namespace, working: Working) -> str:
    rows = choose(asked.only)
    if asked.list:
        return _listed(asked.folder, rows)
    if asked.table:
        return table(asked.folder)

    def tell_more(text: str) -> None:
        working.status.clear()
        say(text)

    measuring = Measuring(
        asked.folder,
        asked.real or default_folder(),
        _sources(asked),
        run_edgeproxy,
        tell=working.tell,
        say=tell_more,
    )
    todo = [row for row, steps in unfinished(asked.folder, rows) if steps]
    measuring.check_models(todo)
    failed = measuring.rows(todo)
    if failed:
        raise EdgeproxyError(
            f"not measured: {', '.join(failed)}; the same command tries again, and with --table "
            "prints what is there"
        )
    return table(asked.folder)


def _listed(folder: Path, rows: list[Row]) -> str:
    lines = []
    for row, steps in unfinished(folder, rows):
        state = f"to do: {', '.join(steps)}" if steps else "done"
        lines.append(f"{row.name:20} {state:22} {row.title}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
