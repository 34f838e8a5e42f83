"""Measure what a trio makes of a machine that another process keeps busy.

    python -m tools.measure.busy TRIO [--neighbours 1] [--seconds 8] [--rounds 3] [--draft auto]
                                 [--json]

One session chooses its threads while it runs, as edgeproxy does; the others have each a fixed
number. In every round the first one writes on a quiet machine, then the neighbours start and it
goes on; what it has written from the second second on is compared with the fixed ones, which follow
in turn. Then the neighbours end, and it goes on once more.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.threads import counts, processors
from edgeproxy.errors import Cancelled
from edgeproxy.measure.bench import PROMPTS
from edgeproxy.measure.machine import machine
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from tools.command import add_json, at_least, make_parser, run

FOUND = 2.0
"""Seconds after which the best setting should have been found."""

Told = Callable[[str], None]


class Writer:
    """One session that writes the same replies over and over."""

    def __init__(self, session: Session, max_tokens: int) -> None:
        self.session = session
        self._tokens = self._write(max_tokens)

    def _write(self, max_tokens: int) -> Iterator[None]:
        while True:
            for prompt in PROMPTS:
                for piece in self.session.chat(prompt, max_tokens=max_tokens):
                    if piece.finish_reason == "cancelled":
                        raise Cancelled("the measurement was interrupted")
                    if piece.token is not None:
                        yield

    def write(self, seconds: float) -> list[float]:
        """Write for so long; when each token came, in seconds since the beginning."""
        started = time.perf_counter()
        times: list[float] = []
        while not times or times[-1] < seconds:
            next(self._tokens)
            times.append(time.perf_counter() - started)
        return times


def speed(times: Sequence[float], since: float = 0.0) -> float:
    """Tokens a second from `since` to the last token of `times`."""
    return sum(time > since for time in times) / max(times[-1] - since, 1e-9)


@contextlib.contextmanager
def busy(neighbours: int) -> Iterator[None]:
    """Other processes that each keep a processor busy for as long as this lasts."""
    with ExitStack() as running:
        for _ in range(neighbours):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            running.callback(process.wait)
            running.callback(process.kill)
        yield


def measure(
    trio: str, neighbours: int, seconds: float, rounds: int, max_tokens: int, draft: Any, told: Told
) -> dict[str, Any]:
    """The figures, as JSON has them. `told` hears what is under way. Raises what loading raises."""
    found: list[dict[str, Any]] = []
    with ExitStack() as opened:

        def writer(n_threads: int | None) -> Writer:
            told(f"loading, threads {n_threads or 'as chosen'}")
            return Writer(
                opened.enter_context(load(trio, n_threads=n_threads, draft=draft)), max_tokens
            )

        chosen = writer(None)
        fixed = {count: writer(count) for count in counts(processors())}
        base = chosen.session.crew.base.choice
        for number in range(1, rounds + 1):
            when = f"round {number} of {rounds}"
            told(f"{when}: quiet")
            before = speed(chosen.write(seconds), FOUND)
            with busy(neighbours):
                told(f"{when}: busy, threads as chosen")
                under_load = chosen.write(seconds)
                threads = base.best
                others = {}
                for count, other in fixed.items():
                    told(f"{when}: busy, threads {count}")
                    others[count] = speed(other.write(seconds))
            told(f"{when}: quiet again")
            after = speed(chosen.write(seconds), FOUND)
            found.append(
                {
                    "quiet": before,
                    "busy": speed(under_load, FOUND),
                    "threads": threads,
                    "fixed": others,
                    "share": speed(under_load, FOUND) / max(others.values()),
                    "quiet again": after,
                }
            )
    return {
        "rounds": found,
        "of the best fixed": median(one["share"] for one in found),
        "quiet again / quiet": median(one["quiet again"] / one["quiet"] for one in found),
        "neighbours": neighbours,
        "machine": machine(),
    }


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The lines that a person reads."""
    yield "tokens/s, in each round"
    for one in found["rounds"]:
        fixed = ", ".join(f"{speed:.1f} with {n}" for n, speed in one["fixed"].items())
        yield (
            f"quiet {one['quiet']:.1f}; busy {one['busy']:.1f} with {one['threads']} as chosen, "
            f"{fixed} fixed; quiet again {one['quiet again']:.1f}"
        )
    yield (
        f"busy, from {FOUND:g} seconds on: {found['of the best fixed']:.2f}x the best fixed "
        f"number; quiet again: {found['quiet again / quiet']:.2f}x quiet"
    )


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.busy", __doc__)
    parser.add_argument("trio", help="a trio's name, or its trio.toml")
    parser.add_argument("--neighbours", type=at_least(1), default=1, help="processes that are busy")
    parser.add_argument("--seconds", type=_seconds, default=8.0, help="of writing, each time")
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--max-tokens", type=at_least(1), default=48, help="the longest reply")
    parser.add_argument("--draft", choices=("off", "ngram", "expert", "auto"), default="auto")
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        return measure(**vars(asked), told=working.tell)

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > FOUND:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of more than {FOUND:g}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
