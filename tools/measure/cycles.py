"""Measure whether a process that loads, answers and closes again and again gives all memory back.

    python -m tools.measure.cycles TRIO [--cycles 200] [--first 20] [--json]

Every cycle loads the trio with a shelf, answers a few questions and closes it. What the process
holds of memory after so many cycles is compared with what it held after the first ones, in which it
takes what it keeps for good. The figure to hold is 10 MB more.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.session.load import load
from edgeproxy.units import in_units
from tools.command import add_json, at_least, make_parser, run

BAR = 10_000_000

_SHELF = 1 << 26
_REPLY = 12  # tokens
_QUESTIONS = (
    "What is the capital of Mongolia?",
    "Tell me about the rivers and lakes of Peru.",
    "What is the capital of Mongolia, and what is its climate like?",
)
_STATM = Path("/proc/self/statm")


def resident() -> int:
    """The bytes of memory that this process holds."""
    if _STATM.exists():
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil  # where there is no /proc

    return int(psutil.Process().memory_info().rss)


def cycle(trio: str) -> None:
    """Load the trio called `trio`, or at that path, have it answer, and close it."""
    with load(trio, shelf=_SHELF, force=True) as session:
        for question in _QUESTIONS:
            for _ in session.reply(question, max_tokens=_REPLY):
                pass


def measure(
    trio: str, cycles: int, first: int, told: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """Bytes held after each cycle; `grown` is from the `first`-th on, or from the last before."""
    held = []
    for number in range(cycles):
        told(f"cycle {number + 1} of {cycles}")
        cycle(trio)
        gc.collect()
        held.append(resident())
    begun = held[min(first, cycles) - 1]
    return {"bar": BAR, "cycles": cycles, "first": begun, "grown": held[-1] - begun, "held": held}


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.cycles", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument("--cycles", type=at_least(1), default=200)
    parser.add_argument("--first", type=at_least(1), default=20, help="where memory has settled")
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        return measure(asked.trio, asked.cycles, asked.first, working.tell)

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    held = found["held"]
    step = max(1, len(held) // 10)
    yield f"{found['cycles']} cycles of loading, answering and closing; bar {in_units(BAR)} more"
    yield "held: " + ", ".join(in_units(each) for each in held[step - 1 :: step])
    sign = "-" if found["grown"] < 0 else ""
    yield f"grown since {in_units(found['first'])}: {sign}{in_units(abs(found['grown']))}"


if __name__ == "__main__":
    sys.exit(main())
