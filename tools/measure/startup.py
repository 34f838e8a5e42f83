"""Measure the time from the start of a process to the first token, and of `edgeproxy --help`.

    python -m tools.measure.startup [TRIO] [--prompt TEXT] [--repeats 7] [--json]

Run it on a quiet machine. The figures to hold, with the factbook trio: 0.7 s and 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError
from tools.command import add_json, at_least, make_parser, run

BARS = {"run": 0.7, "help": 0.2}


def parts(trio: str, prompt: str) -> dict[str, float]:
    """The seconds of each part, up to the first token of a fresh process."""
    started = str(time.monotonic())
    command = [sys.executable, "-m", "tools.measure.first_token", trio, prompt, started]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise EdgeproxyError((answer.stderr.splitlines() or ["the process was killed"])[-1])
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def seconds_to_first_byte(*arguments: str) -> float:
    """The seconds until `edgeproxy ARGUMENTS` has something on standard output.

    Raises `EdgeproxyError` with what it said when it fails.
    """
    command = [sys.executable, "-m", "edgeproxy", *arguments]
    pipe = subprocess.PIPE
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        spent = time.perf_counter() - started
        said = process.communicate()[1]
    if process.returncode != 0:
        raise EdgeproxyError(said.decode(errors="replace").strip())
    return spent


def measure(
    trio: str, prompt: str, repeats: int, told: Callable[[str], None] = lambda what: None
) -> dict[str, float]:
    """Medians in seconds: the parts, and `run` and `help` as a person at a terminal meets them."""
    # What a first run compiles and what it leaves in the system's cache is not measured.
    parts(trio, prompt)
    found = []
    for number in range(1, repeats + 1):
        told(f"process {number} of {repeats}")
        run = seconds_to_first_byte("run", prompt, "--trio", trio, "--max-tokens", "1")
        found.append(parts(trio, prompt) | {"run": run, "help": seconds_to_first_byte("--help")})
    return {name: median(one[name] for one in found) for name in found[0]}


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.startup", __doc__)
    parser.add_argument("trio", nargs="?", default="factbook", help="[default: factbook]")
    parser.add_argument("--prompt", default="What is the capital of Mongolia?")
    parser.add_argument("--repeats", type=at_least(1), default=7)
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        found = measure(asked.trio, asked.prompt, asked.repeats, working.tell)
        return {"medians_of": asked.repeats, "seconds": found, "bars": BARS}

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    yield f"seconds, medians of {found['medians_of']} fresh processes"
    for name, spent in found["seconds"].items():
        bar = f"   bar {BARS[name]}" if name in BARS else ""
        yield f"  {name:12}{spent:7.3f}{bar}"


if __name__ == "__main__":
    sys.exit(main())
