"""How fast a trio is on this machine: what is measured, and the figures. See `edgeproxy bench`.

Everything is run in turn, again and again, so that whatever else the machine does meets all of it
alike; figures are medians, and ratios are of medians of the same run.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgeproxy.chat import Speaker
from edgeproxy.errors import Cancelled
from edgeproxy.loader import Session
from edgeproxy.prompt import Message
from edgeproxy.threads import processors
from edgeproxy.trio import RoleTokens

PROMPTS = ("What is the capital of Mongolia?", "Tell me about Peru.", "Hello!")
SYSTEMS = ("base", "expert", "stepwise", "drafted")
_COPIED = 128 << 20
_READ = 256


@dataclass(frozen=True)
class Reply:
    """One reply: how many tokens, seconds to the first, and seconds from there to the last."""

    tokens: int
    first: float
    rest: float


def measure(
    session: Session,
    prompts: Sequence[str],
    repeats: int,
    max_tokens: int,
    told: Callable[[str], None],
) -> dict[str, Any]:
    """The figures of all systems, as JSON will have them.

    `told` hears what is measured at the moment. One round before the others warms up and is not
    counted. Raises what a reply raises, and `Cancelled` once the session is cancelled.
    """
    rounds: dict[str, list[list[Reply]]] = {name: [] for name in SYSTEMS}
    reading: list[float] = []
    mode = session.drafter.mode
    for number in range(repeats + 1):
        for name in SYSTEMS:
            told(f"round {number} of {repeats}: {name}")
            session.drafter.mode = mode if name == "drafted" else "off"
            speaker = _speaker(session, name)
            replies = [_reply(speaker, prompt, max_tokens) for prompt in prompts]
            if number:
                rounds[name].append(replies)
        told(f"round {number} of {repeats}: reading a prompt")
        seconds = _read_prompt(session)
        if number:
            reading.append(seconds)
    session.drafter.mode = mode
    found: dict[str, Any] = {name: _figures(replies) for name, replies in rounds.items()}
    speeds = {name: found[name]["tokens_per_second"] for name in SYSTEMS}
    bandwidth = memory_bandwidth()
    size = session.recipe.base.path.stat().st_size
    return {
        "trio": session.recipe.name,
        **found,
        "draft": mode,
        "prompt": {"tokens_per_second": _READ / median(reading), "tokens": _READ},
        "ratios": {
            "drafted / stepwise": speeds["drafted"] / speeds["stepwise"],
            "drafted / base": speeds["drafted"] / speeds["base"],
            "stepwise / base": speeds["stepwise"] / speeds["base"],
        },
        "base_bandwidth_share": size * speeds["base"] / bandwidth,
        "machine": {**machine(), "memory_bandwidth_gb_per_second": bandwidth / 1e9},
    }


def _speaker(session: Session, name: str) -> Speaker[Any]:
    return session.speaker if name in ("stepwise", "drafted") else session.solo(name)


def _reply(speaker: Speaker[Any], prompt: str, max_tokens: int) -> Reply:
    started = time.perf_counter()
    times = [
        time.perf_counter()
        for piece in speaker.reply([Message("user", prompt)], max_tokens=max_tokens)
        if piece.token is not None
    ]
    if not times:
        raise Cancelled("the measurement was interrupted")
    return Reply(len(times), times[0] - started, times[-1] - times[0])


def _read_prompt(session: Session) -> float:
    """Seconds to read a prompt of `_READ` tokens by all three, from nothing."""
    trio = session.trio
    trio.resume(RoleTokens([], [], []))
    ids = [token for token, text in enumerate(trio.vocab.texts) if text][:_READ]
    started = time.perf_counter()
    trio.eval(ids[: min(_READ, trio.n_ctx // 2)])
    seconds = time.perf_counter() - started
    trio.resume(RoleTokens([], [], []))
    return seconds * _READ / min(_READ, trio.n_ctx // 2)


def _figures(rounds: Sequence[Sequence[Reply]]) -> dict[str, Any]:
    """Tokens a second: of each round all its replies together, then the median of the rounds."""
    speeds = [
        sum(reply.tokens - 1 for reply in replies) / max(sum(r.rest for r in replies), 1e-9)
        for replies in rounds
    ]
    return {
        "tokens_per_second": median(speeds),
        "spread": [min(speeds), max(speeds)],
        "first_token_seconds": median(r.first for replies in rounds for r in replies),
        "tokens": sum(reply.tokens for reply in rounds[0]),
    }


def memory_bandwidth() -> float:
    """Bytes a second that one thread copies, read and written bytes counted: the best of five."""
    source = np.ones(_COPIED, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - started)
    return 2 * _COPIED / best


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from importlib.metadata import version

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": next(_processor_names(), platform.processor() or "unknown"),
        "processors": processors(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "llama_cpp_python": version("llama-cpp-python"),
    }


def _processor_names() -> Iterator[str]:
    """The processor's name where the system has it in a file, as Linux does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            yield value.strip()
