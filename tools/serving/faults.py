"""The models' process is killed under load: what becomes of each request, and what leaks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.serving.load import MAX_TOKENS, expected
from tools.serving.server import Serving, read_questions

SIGNALS = tuple(getattr(signal, name) for name in ("SIGKILL", "SIGSEGV", "SIGABRT"))
CLIENTS = 4
_TIMEOUT = 300.0
_DATA, _END = "data: ", "[DONE]"
_SETTLED_SECONDS = 2.0

Told = Callable[[str], None]


@dataclass
class Answer:
    """What came of one streamed request: its text, and its errors by their type."""

    question: str
    text: str
    errors: list[str]
    is_whole: bool

    def outcome(self, wanted: str) -> str:
        """One word: "right", the type of its only error, or what is wrong."""
        match self.errors:
            case [] if self.is_whole:
                return "right" if self.text == wanted else "wrong text"
            case []:
                return "cut off without an error"
            case [kind]:
                return kind if wanted.startswith(self.text) else "wrong text before an error"
        return "several errors"


async def ask(http: Any, model: str, question: str, begun: asyncio.Event) -> Answer:
    """One streamed request; `begun` is set at its first text."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": True,
    }
    answer = Answer(question, "", [], False)
    async with http.stream("POST", "/v1/chat/completions", json=body) as streamed:
        if not streamed.is_success:
            said = json.loads(await streamed.aread())
            answer.errors.append(str(said["error"]["type"]))
            return answer
        async for line in streamed.aiter_lines():
            if not line.startswith(_DATA):
                continue
            if line == _DATA + _END:
                answer.is_whole = True
                continue
            said = json.loads(line.removeprefix(_DATA))
            if "error" in said:
                answer.errors.append(str(said["error"]["type"]))
                continue
            for choice in said["choices"]:
                answer.text += choice["delta"].get("content") or ""
            if answer.text:
                begun.set()
    return answer


async def kill_again_and_again(
    serving: Serving, questions: Sequence[str], kills: int, told: Told
) -> tuple[list[list[Answer]], list[tuple[int, int]]]:
    """The answers of each round, and after each how many descriptors and processes there are."""
    import httpx

    rounds, leaks = [], []
    async with httpx.AsyncClient(
        base_url=serving.url, headers=serving.headers, timeout=_TIMEOUT
    ) as http:
        for number in range(kills + 1):  # none is killed in the first round
            told(f"{number} of {kills} kills")
            asked = [questions[(CLIENTS * number + n) % len(questions)] for n in range(CLIENTS)]
            begun = asyncio.Event()
            tasks = [
                asyncio.create_task(ask(http, serving.ready["trio"], question, begun))
                for question in asked
            ]
            if number:
                await begun.wait()
                for pid in serving.children():
                    os.kill(pid, SIGNALS[number % len(SIGNALS)])
            rounds.append(list(await asyncio.gather(*tasks)))
            await asyncio.sleep(0.0 if number else _SETTLED_SECONDS)
            leaks.append((serving.descriptors(), len(serving.children())))
        await asyncio.sleep(_SETTLED_SECONDS)
        leaks.append((serving.descriptors(), len(serving.children())))
    return rounds, leaks


def measure(trio: str, path: Path, kills: int, told: Told) -> dict[str, Any]:
    """What came of all requests while the models' process was killed so often."""
    questions = read_questions(path)[: CLIENTS * (kills + 1)]
    wanted = expected(trio, questions, told)
    with Serving(trio) as serving:
        rounds, leaks = asyncio.run(kill_again_and_again(serving, questions, kills, told))
        is_up = serving.is_up
    outcomes = [[each.outcome(wanted[each.question]) for each in answers] for answers in rounds]
    return {
        "trio": trio,
        "kills": kills,
        "is_up": is_up,
        "outcomes": dict(Counter(one for each in outcomes for one in each)),
        "most_broken_by_one": max(sum(one != "right" for one in each) for each in outcomes),
        "before": leaks[0],
        "after": leaks[-1],
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    outcomes = ", ".join(f"{count} {one}" for one, count in found["outcomes"].items())
    (files, processes), (files_after, processes_after) = found["before"], found["after"]
    return (
        f"{found['kills']} kills: the server is {'up' if found['is_up'] else 'gone'}\n"
        f"requests: {outcomes}; at most {found['most_broken_by_one']} broken by one kill\n"
        f"descriptors {files} before and {files_after} after, processes {processes} and "
        f"{processes_after}"
    )
