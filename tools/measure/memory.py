"""Set the memory that trios take beside what is estimated of them before they are loaded.

    python -m tools.measure.memory [TRIO]... [--ctx N] [--kv q8_0] [--json]

Each trio is loaded in a process of its own, which answers a few prompts, with drafts. The bar: the
estimate is within 10% of the most that the process has held.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgeproxy
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.errors import EdgeproxyError
from tools.command import add_json, at_least, make_parser, run

BAR = 0.10

PROMPTS = (
    "Hello! " * 40,
    "Tell me about Chad.",
    "What is the capital of Mongolia?",
    "Tell me about the highest mountains, the rivers and the lakes of Mongolia. " * 6,
)


def held(trio: str, n_ctx: int | None, kv: str) -> dict[str, Any]:
    """What this process has held at most after it has answered, and what was estimated."""
    with edgeproxy.load(trio, n_ctx=n_ctx, kv_type=kv, n_threads=1) as session:  # type: ignore[arg-type]
        for prompt in PROMPTS:
            list(session.chat(prompt, max_tokens=48))
        estimate = session.memory
        return {
            "estimate": estimate.total,
            "peak": peak_memory(),
            "parts": asdict(estimate),
        }


def measure(trio: str, n_ctx: int | None = None, kv: str = "f16") -> dict[str, Any]:
    """As `held`, of a fresh process."""
    program = "import json, sys; from tools.measure.memory import held; "
    program += "print(json.dumps(held(*json.loads(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps([trio, n_ctx, kv])],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"a process ended with {done.returncode}"]
        raise EdgeproxyError(f"{trio}: {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.memory", __doc__)
    parser.add_argument("trios", nargs="*", default=["factbook", "factbook-phi"], metavar="TRIO")
    parser.add_argument("--ctx", type=at_least(1))
    parser.add_argument("--kv", choices=("f16", "q8_0"), default="f16")
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        found = {}
        for trio in asked.trios:
            working.tell(f"measuring {trio}")
            found[trio] = measure(trio, asked.ctx, asked.kv)
        return found

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    for trio, one in found.items():
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in one["parts"].items())
        estimate, peak = one["estimate"], one["peak"]
        if peak is None:
            yield f"{trio}: estimated {estimate / 1e6:.1f} MB; the peak is unknown here"
            continue
        off = estimate / peak - 1
        verdict = "within the bar" if abs(off) <= BAR else "OFF"
        yield (
            f"{trio}: estimated {estimate / 1e6:.1f} MB, held {peak / 1e6:.1f} MB "
            f"({off:+.1%}, {verdict})"
        )
        yield f"  MB: {parts}"


if __name__ == "__main__":
    sys.exit(main())
