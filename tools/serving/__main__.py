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

    python -m tools.serving fuzz [TRIO] [--minutes 5] --clients FOLDER

schemathesis asks what the server's own OpenAPI document allows, and much that it does not.

    python -m tools.serving clients FOLDER

sets clients that others wrote up in FOLDER (1.3 GB, some minutes): those that EDGEPROXY_CLIENTS
names to the tests, and schemathesis.

May touch: the environment variable EDGEPROXY_CLIENTS, read only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import UsageError
from tools.command import add_json, at_least, make_parser, run
from tools.serving import faults, fuzz, leaving, load, overhead
from tools.serving.clients import Clients, found_clients, set_up_clients

QUESTIONS = Path(__file__).parents[2] / "models" / "factbook" / "questions.jsonl"
_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "load": load.as_text,
    "overhead": overhead.as_text,
    "faults": faults.as_text,
    "leaving": leaving.as_text,
    "fuzz": fuzz.as_text,
    "clients": lambda found: str(found["folder"]),
}
_VARIABLE = "EDGEPROXY_CLIENTS"


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.serving", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
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
    fuzzes = kinds.add_parser("fuzz", help="schemathesis asks")
    fuzzes.add_argument("--minutes", type=float, default=fuzz.MINUTES)
    named = os.environ.get(_VARIABLE)
    fuzzes.add_argument("--clients", type=Path, default=named, help=f"default: {_VARIABLE}")
    sets_up = kinds.add_parser("clients", help="set up what others wrote")
    sets_up.add_argument("folder", type=Path, help="where it is kept")
    for kind in (many, adds, kills, gone, fuzzes):
        kind.add_argument("trio", nargs="?", default="factbook", help="a trio's name or path")
        add_json(kind)
    for kind in (many, adds, kills):
        kind.add_argument("--questions", type=Path, default=QUESTIONS, help="as eval takes them")

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        told = working.tell
        match asked.kind:
            case "load":
                numbers = (asked.clients, asked.requests)
                found = load.measure(asked.trio, asked.questions, *numbers, told)
            case "overhead":
                found = overhead.measure(asked.trio, asked.questions, asked.count, (), told)
            case "faults":
                found = faults.measure(asked.trio, asked.questions, asked.kills, told)
            case "leaving":
                found = leaving.measure(asked.trio, asked.repeats, asked.tokens, told)
            case "fuzz":
                found = fuzz.measure(asked.trio, _clients_of(asked), asked.minutes, told)
            case _:
                set_up_clients(asked.folder.absolute(), working)
                found = {"folder": str(asked.folder)}
        return {"kind": asked.kind, **found}

    return run(parser, work, lambda found: _TEXTS[found["kind"]](found))


def _clients_of(asked: argparse.Namespace) -> Clients:
    if asked.clients is None:
        raise UsageError(f"--clients FOLDER or {_VARIABLE} must say where schemathesis is")
    return found_clients(asked.clients.absolute())


if __name__ == "__main__":
    sys.exit(main())
