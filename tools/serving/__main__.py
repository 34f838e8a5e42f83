"""Measure `edgeproxy serve` as its clients see it.

    python -m tools.serving load [TRIO] [--clients 64] [--requests 2000]

Many clients ask at once: whether each gets its own answer, as the library gives it; how the memory
of the server and of its models' process grows from request 200 on; how fast /health answers.

    python -m tools.serving overhead [TRIO] [--questions FILE] [--count 20]

The library and the server answer the same questions in turn: tokens a second, and the first text.

    python -m tools.serving faults [TRIO] [--kills 50]

The models' process is killed by SIGKILL, SIGSEGV and SIGABRT while four clients stream.

    python -m tools.serving leaving [TRIO] [--repeats 10] [--tokens 600]

Clients vanish while their prompts are read, amid streams, in plain calls and while they wait.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from tools.command import add_json, at_least, make_parser, run
from tools.serving import faults, leaving, load, overhead

QUESTIONS = Path(__file__).parents[2] / "models" / "factbook" / "questions.jsonl"
_TEXTS = {
    "load": load.as_text,
    "overhead": overhead.as_text,
    "faults": faults.as_text,
    "leaving": leaving.as_text,
}


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.serving", __doc__)
    kinds = parser.add_subparsers(
        dest="kind", required=True, metavar="load|overhead|faults|leaving"
    )
    many = kinds.add_parser("load", help="many clients at once")
    many.add_argument("--clients", type=at_least(1), default=64)
    many.add_argument("--requests", type=at_least(load.WARM + 1), default=2000)
    adds = kinds.add_parser("overhead", help="what HTTP adds")
    adds.add_argument("--count", type=at_least(1), default=20, help="questions")
    kills = kinds.add_parser("faults", help="the models' process is killed")
    kills.add_argument("--kills", type=at_least(1), default=50)
    gone = kinds.add_parser("leaving", help="clients vanish")
    gone.add_argument("--repeats", type=at_least(1), default=10)
    gone.add_argument("--tokens", type=at_least(24), default=600, help="of prompts that are left")
    for kind in (many, adds, kills, gone):
        kind.add_argument("trio", nargs="?", default="factbook", help="a trio's name or path")
        kind.add_argument("--questions", type=Path, default=QUESTIONS, help="as eval takes them")
        add_json(kind)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        path, told = asked.questions, working.tell
        match asked.kind:
            case "load":
                found = load.measure(asked.trio, path, asked.clients, asked.requests, told)
            case "overhead":
                found = overhead.measure(asked.trio, path, asked.count, (), told)
            case "leaving":
                found = leaving.measure(asked.trio, asked.repeats, asked.tokens, told)
            case _:
                found = faults.measure(asked.trio, path, asked.kills, told)
        return {"kind": asked.kind, **found}

    return run(parser, work, lambda found: _TEXTS[found["kind"]](found))


if __name__ == "__main__":
    sys.exit(main())
