"""Many clients at once: does each get its own answer, once, and does the server stay as it was?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import edgeproxy
from edgeproxy.errors import EdgeproxyError
from tools.serving.server import Serving, read_questions

GROWTH_BAR, HEALTH_BAR = 0.05, 0.05
"""Of memory from request 200 on; the seconds that 99% of /health's answers stay below."""

WARM = 200
MAX_TOKENS = 24
_TIMEOUT = 600.0
_PATIENCE = 1.0

Told = Callable[[str], None]


def expected(trio: str, questions: Sequence[str], told: Told) -> dict[str, str]:
    """What the library answers."""
    found = {}
    with edgeproxy.load(trio) as session:
        for number, question in enumerate(questions):
            told(f"asking the library, {number} of {len(questions)}")
            turn = session.reply(question, max_tokens=MAX_TOKENS)
            found[question] = "".join(piece.text for piece in turn)
    return found


async def ask_all(
    serving: Serving, questions: Sequence[str], clients: int, requests: int, told: Told
) -> tuple[list[tuple[str, str]], Counter[int], list[int]]:
    """Questions with their answers, how often which status came, and memory at the marks."""
    import httpx

    answered: list[tuple[str, str]] = []
    statuses: Counter[int] = Counter()
    memory: list[int] = []
    todo = iter(range(requests))

    async def client(http: Any) -> None:
        for number in todo:
            question = questions[number % len(questions)]
            body = {
                "model": serving.ready["trio"],
                "messages": [{"role": "user", "content": question}],
                "max_tokens": MAX_TOKENS,
                "temperature": 0,
            }
            while True:
                answer = await http.post("/v1/chat/completions", json=body)
                statuses[answer.status_code] += 1
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    break
                await asyncio.sleep(min(float(answer.headers["retry-after"]), _PATIENCE))
            said = answer.json()
            text = said["choices"][0]["message"]["content"] if answer.is_success else str(said)
            answered.append((question, text))
            if len(answered) in (WARM, requests):
                memory.append(serving.memory())
            told(f"{len(answered)} of {requests} requests")

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(
        base_url=serving.url, headers=serving.headers, timeout=_TIMEOUT, limits=limits
    ) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return answered, statuses, memory


def measure(trio: str, path: Path, clients: int, requests: int, told: Told) -> dict[str, Any]:
    """All figures of a load of so many clients and requests."""
    if requests <= WARM:
        raise EdgeproxyError(f"memory is compared from request {WARM} on: ask for more requests")
    questions = read_questions(path)[:requests]
    wanted = expected(trio, questions, told)
    with Serving(trio, "--max-queue", str(clients)) as serving:
        where = urlsplit(serving.url)
        probe = subprocess.Popen(
            [sys.executable, "-m", "tools.serving.probe", str(where.hostname), str(where.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        began = time.perf_counter()
        answered, statuses, memory = asyncio.run(
            ask_all(serving, questions, clients, requests, told)
        )
        seconds = time.perf_counter() - began
        health = json.loads(probe.communicate("")[0] or "[]")
        said = list(serving.said)
    wrong = [(question, text) for question, text in answered if text != wanted[question]]
    return {
        "trio": trio,
        "clients": clients,
        "requests": requests,
        "answered": len(answered),
        "wrong": len(wrong),
        "first_wrong": wrong[:3],
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "seconds": seconds,
        "memory": memory,
        "growth": memory[-1] / memory[0] - 1.0,
        "health": len(health),
        "health_p99": quantiles(health, n=100)[-1] if len(health) > 1 else None,
        "health_longest": max(health, default=None),
        "said": said[-5:],
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    statuses = ", ".join(f"{count} of {status}" for status, count in found["statuses"].items())
    before, after = (size / 1e6 for size in found["memory"])
    p99 = found["health_p99"]
    return (
        f"{found['clients']} clients, {found['requests']} requests in {found['seconds']:.0f} s: "
        f"{found['answered']} answered, {found['wrong']} otherwise than by the library\n"
        f"answers by status: {statuses}\n"
        f"memory {before:.0f} MB after {WARM}, {after:.0f} MB at the end: "
        f"{found['growth']:+.1%} (bar {GROWTH_BAR:.0%})\n"
        f"/health {found['health']} times: p99 {1000 * p99:.0f} ms (bar "
        f"{1000 * HEALTH_BAR:.0f}), longest {1000 * found['health_longest']:.0f} ms"
    )
