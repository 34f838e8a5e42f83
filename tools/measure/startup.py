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
from statistics import median

BARS = {"run": 0.7, "help": 0.2}


def parts(trio: str, prompt: str) -> dict[str, float]:
    """The seconds of each part, up to the first token of a fresh process."""
    started = str(time.monotonic())
    command = [sys.executable, "-m", "tools.measure.first_token", trio, prompt, started]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def seconds_to_first_byte(*arguments: str) -> float:
    """The seconds until `edgeproxy ARGUMENTS` has something on standard output.

    Raises `RuntimeError` with what it said when it fails.
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
        raise RuntimeError(said.decode(errors="replace"))
    return spent


def measure(trio: str, prompt: str, repeats: int) -> dict[str, float]:
    """Medians in seconds: the parts, and `run` and `help` as a person at a terminal meets them."""
    # What a first run compiles and what it leaves in the system's cache is not measured.
    parts(trio, prompt)
    found = []
    for _ in range(repeats):
        run = seconds_to_first_byte("run", prompt, "--trio", trio, "--max-tokens", "1")
        found.append(parts(trio, prompt) | {"run": run, "help": seconds_to_first_byte("--help")})
    return {name: median(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Measure and print, as the command line asks."""
    parser = argparse.ArgumentParser(description="Measure the time to the first token.")
    parser.add_argument("trio", nargs="?", default="factbook", help="[default: factbook]")
    parser.add_argument("--prompt", default="What is the capital of Mongolia?")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = measure(arguments.trio, arguments.prompt, arguments.repeats)
    if arguments.json:
        print(json.dumps({"seconds": found, "bars": BARS}))
        return
    print(f"seconds, medians of {arguments.repeats} fresh processes")
    for name, spent in found.items():
        bar = f"   bar {BARS[name]}" if name in BARS else ""
        print(f"  {name:12}{spent:7.3f}{bar}")


if __name__ == "__main__":
    main()
