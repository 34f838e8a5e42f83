"""How fast a trio is on this machine: what is measured, and the figures. See `edgeproxy bench`.

Everything is run in turn, again and again, so that whatever else the machine does meets all of it
alike; figures are medians, and ratios are of medians of the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from edgeproxy.core.memory_free import peak_memory
from edgeproxy.core.model import Model
from edgeproxy.core.threads import processors
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import Cancelled
from edgeproxy.gguf import read
from edgeproxy.measure.machine import machine
from edgeproxy.prompts.formats import Message
from edgeproxy.session.memory_plan import BAR
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker

PROMPTS = ("What is the capital of Mongolia?", "Tell me about Peru.", "Hello!")
TRIO = ("stepwise", "drafted")
SYSTEMS = ("base", "expert", *TRIO)
SEED = 1
COPIED = 128 << 20
"""Bytes that are copied to measure the memory's speed."""

_READ = 256


@dataclass(frozen=True)
class Reply:
    """One reply: how many tokens, seconds to the first, seconds from there to the last, and ids."""

    tokens: int
    first: float
    rest: float
    ids: tuple[int, ...]


class Prompt(NamedTuple):
    """Seconds until a prompt of `_READ` tokens has been read: by all three, and by the base."""

    trio: float
    base: float


def measure(
    session: Session,
    prompts: Sequence[str],
    repeats: int,
    max_tokens: int,
    progress: Callable[[str], None],
    temperature: float = 0.0,
) -> dict[str, Any]:
    """The figures of all systems, as JSON will have them.

    `progress` hears what is measured at the moment. What warms up is not counted; the peak of
    memory is taken after the trio's part of that, before the models measured alone get contexts of
    their own.
    The draw begins with the same seed each time. Raises what a reply raises, `UsageError` for an
    impossible temperature, and `Cancelled` once the session is cancelled.
    """
    sampling = Sampling(temperature=temperature, seed=SEED)
    mode = session.drafter.mode

    def ask(name: str, when: str) -> list[Reply]:
        progress(f"{when}: {name}")
        session.drafter.mode = mode if name == "drafted" else "off"
        try:
            speaker = _speaker(session, name)
            return [_reply(speaker, prompt, sampling, max_tokens) for prompt in prompts]
        finally:
            session.drafter.mode = mode

    for name in TRIO:
        ask(name, "warming up")
    _read_prompt(session)
    memory = _memory(session)
    for name in SYSTEMS:
        if name not in TRIO:
            ask(name, "warming up")
    rounds: dict[str, list[list[Reply]]] = {name: [] for name in SYSTEMS}
    reading: list[Prompt] = []
    for number in range(1, repeats + 1):
        when = f"round {number} of {repeats}"
        for name in SYSTEMS:
            rounds[name].append(ask(name, when))
        progress(f"{when}: reading a prompt")
        reading.append(_read_prompt(session))
    progress("memory bandwidth")
    found: dict[str, Any] = {name: _figures(replies) for name, replies in rounds.items()}
    trio_reads, base_reads = (median(times) for times in zip(*reading, strict=True))
    copied, read = memory_bandwidth()
    moved = _bytes_a_token(session) * found["base"]["tokens_per_second"]
    return {
        "trio": session.recipe.name,
        **found,
        "draft": mode,
        "temperature": temperature,
        "same_text": _texts(rounds["stepwise"]) == _texts(rounds["drafted"]),
        "prompt": {
            "tokens_per_second": _READ / trio_reads,
            "tokens": _READ,
            "seconds": trio_reads,
            "base_seconds": base_reads,
        },
        "ratios": {**_ratios(found), "prompt: trio / base": trio_reads / base_reads},
        "base_bandwidth_share": moved / read,
        "memory": memory,
        "machine": {
            **machine(),
            "memory_bandwidth_gb_per_second": copied / 1e9,
            "read_bandwidth_gb_per_second": read / 1e9,
        },
    }


def _speaker(session: Session, name: str) -> Speaker[Any]:
    return session.speaker if name in TRIO else session.solo(name)


def _reply(speaker: Speaker[Any], prompt: str, sampling: Sampling, max_tokens: int) -> Reply:
    started = time.perf_counter()
    steps = [
        (piece.token, time.perf_counter())
        for piece in speaker.reply([Message("user", prompt)], sampling, max_tokens)
        if piece.token is not None
    ]
    if not steps:
        raise Cancelled("the measurement was interrupted")
    ids, times = zip(*steps, strict=True)
    return Reply(len(ids), times[0] - started, times[-1] - times[0], ids)


def _read_prompt(session: Session) -> Prompt:
    """Time a prompt of `_READ` tokens, or of what half a context takes, from nothing."""
    trio = session.trio
    nothing = RoleTokens([], [], [])
    trio.resume(nothing)
    ids = [token for token, text in enumerate(trio.vocab.texts) if text]
    ids = ids[: min(_READ, trio.n_ctx // 2)]

    def seconds(model: Model | Trio) -> float:
        started = time.perf_counter()
        model.eval(ids)
        return (time.perf_counter() - started) * _READ / len(ids)

    of_base = seconds(trio.base)
    trio.base.rewind(trio.base.n_past)
    of_trio = seconds(trio)
    trio.resume(nothing)
    return Prompt(of_trio, of_base)


def _memory(session: Session) -> dict[str, Any]:
    """The peak until now beside what was estimated of the trio, in bytes."""
    needed, peak = session.memory.total, peak_memory()
    return {
        "peak": peak,
        "weights": session.memory.weights,
        "kv": session.memory.kv,
        "needed": needed,
        "ratio": None if peak is None else peak / needed,
        "bar": BAR,
    }


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


def _ratios(found: dict[str, Any]) -> dict[str, float]:
    pairs = (("drafted", "stepwise"), ("drafted", "base"), ("stepwise", "base"))
    ratios = {}
    for prefix, key in (("", "tokens_per_second"), ("first token: ", "first_token_seconds")):
        for one, other in pairs:
            ratios[f"{prefix}{one} / {other}"] = found[one][key] / found[other][key]
    return ratios


def _texts(rounds: Sequence[Sequence[Reply]]) -> list[tuple[int, ...]]:
    return [reply.ids for replies in rounds for reply in replies]


def _bytes_a_token(session: Session) -> int:
    """The weights that the base reads for a token: of an embedding apart from the output, a row."""
    tensors = {tensor.name: tensor.size for tensor in read(session.recipe.base.path).tensors}
    if "output.weight" in tensors:
        del tensors["token_embd.weight"]
    return sum(tensors.values())


def memory_bandwidth() -> tuple[float, float]:
    """Bytes a second, the best of some: copied by one thread, in and out, and read by all."""
    source = np.ones(COPIED // 8, np.uint64)
    target = source.copy()  # so that its pages are there
    copying = _fastest(lambda: np.copyto(target, source))
    parts = np.array_split(source, processors())
    # NumPy lets go of Python's lock while it reduces; OR is the least work that reads everything.
    with ThreadPoolExecutor(len(parts)) as pool:
        reading = _fastest(lambda: list(pool.map(np.bitwise_or.reduce, parts)))
    return 2 * source.nbytes / copying, source.nbytes / reading


def _fastest(work: Callable[[], object], limit: float = 0.3) -> float:
    """The least seconds that `work` took, of three tries and more for `limit` seconds."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < limit:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
