"""Measure how well a pair with a tokenizer of its own steers a base, and what that costs.

    python -m tools.alignment reference TRIO QUESTIONS [--positions 2000]
    python -m tools.alignment naive TRIO QUESTIONS [--limit N]
    python -m tools.alignment permuted TRIO QUESTIONS [--count 200]
    python -m tools.alignment cost --base-vocab FILE --pair-vocab FILE [--text FILE]
    python -m tools.alignment load --base FILE --pair FILE [--rounds 5]

`reference` compares the projection with the exact probabilities, at positions of the trio's own
replies. `naive` lets the trio answer the questions under simpler ways to bridge two vocabularies.
`permuted` gives the pair other ids, and padding, and counts replies that change. `cost` needs two
vocabularies of real size and no weights: random rows stand for the models. `load` times a trio's
first and later starts against reading its files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from tools.alignment.cost import cost
from tools.alignment.loading import load
from tools.alignment.quality import naive, permuted
from tools.alignment.reference import reference
from tools.command import add_json, at_least, make_parser, run

Rows = list[dict[str, Any]]


def main() -> int:
    """Run the measurement that the command line names, and print its table; the exit code."""
    parser = make_parser("tools.alignment", __doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, work: Callable[..., Rows], summary: str) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=summary)
        found.set_defaults(work=work)
        add_json(found)
        return found

    one = verb("reference", reference, "against exact probabilities")
    two = verb("naive", naive, "against simpler ways")
    three = verb("permuted", permuted, "the pair under other ids")
    for each in (one, two, three):
        each.add_argument("trio", help="name of a trio, or its trio.toml")
        each.add_argument("questions", type=Path, help="questions as JSON lines")
    one.add_argument("--positions", type=at_least(1), default=2000, help="how many (default 2000)")
    one.add_argument("--epsilon", type=float, default=0.01, help="relative error of a probability")
    two.add_argument("--limit", type=at_least(1), help="only the first so many questions")
    three.add_argument("--count", type=at_least(1), default=200, help="questions (default 200)")
    four = verb("cost", cost, "time and evaluations at real vocabulary sizes")
    four.add_argument("--base-vocab", type=Path, required=True, help="GGUF file of the base")
    four.add_argument("--pair-vocab", type=Path, required=True, help="GGUF file of the pair")
    four.add_argument("--text", type=Path, default=Path("README.md"), help="what is read")
    four.add_argument("--tokens", type=at_least(1), default=1500, help="how much (default 1500)")
    five = verb("load", load, "first and later starts against reading the files")
    five.add_argument("--base", type=Path, required=True, help="the base's model file")
    five.add_argument("--pair", type=Path, required=True, help="the model file of both others")
    five.add_argument("--rounds", type=at_least(1), default=5, help="in turn (default 5)")
    return run(parser, _measure_asked, table)


def _measure_asked(asked: argparse.Namespace, working: Working) -> Rows:
    given = vars(asked)
    work = given.pop("work")
    if given.pop("verb") not in ("cost", "load"):
        given["told"] = working.tell
    rows: Rows = work(**given)
    return rows


def table(rows: Rows) -> str:
    """`rows` as a Markdown table; every row has the keys of the first."""
    lines = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *(list(map(_cell, row.values())) for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
