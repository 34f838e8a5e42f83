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
from dataclasses import asdict
from typing import Any

import edgeproxy
from edgeproxy.session.memory_free import peak_memory

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
    asked = json.dumps([trio, n_ctx, kv])
    command = [sys.executable, "-m", "tools.measure.memory", "--child", asked]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print, as the command line asks."""
    parser = argparse.ArgumentParser(description="Set estimated memory beside what is held.")
    parser.add_argument("trios", nargs="*", default=["factbook", "factbook-phi"], metavar="TRIO")
    parser.add_argument("--ctx", type=int)
    parser.add_argument("--kv", choices=("f16", "q8_0"), default="f16")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(held(*json.loads(arguments.child))))
        return
    found = {trio: measure(trio, arguments.ctx, arguments.kv) for trio in arguments.trios}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for trio, one in found.items():
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in one["parts"].items())
        peak = one["peak"]
        if peak is None:
            print(f"{trio}: estimated {one['estimate'] / 1e6:.1f} MB; the peak is unknown here")
            continue
        off = one["estimate"] / peak - 1
        verdict = "within the bar" if abs(off) <= BAR else "OFF"
        print(
            f"{trio}: estimated {one['estimate'] / 1e6:.1f} MB, held {peak / 1e6:.1f} MB "
            f"({off:+.1%}, {verdict})\n  MB: {parts}"
        )


if __name__ == "__main__":
    main()
