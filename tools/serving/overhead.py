"""What HTTP adds: tokens a second and the first piece, the library and a server asked in turn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import edgeproxy
from edgeproxy.errors import EdgeproxyError
from tools.serving.server import Serving, read_questions

RATE_BAR, FIRST_BAR = 0.95, 0.010
"""At least this share of the library's tokens a second; a first text at most so many s later."""

MAX_TOKENS = 64
_TIMEOUT = 600.0
_DATA, _END = "data: ", "[DONE]"


@dataclass(frozen=True)
class Timed:
    """Seconds to the first text of a reply and to its end, and its tokens."""

    first: float
    whole: float
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second after the first text."""
        return (self.tokens - 1) / (self.whole - self.first)


def of_library(session: edgeproxy.Session, question: str) -> Timed:
    """One reply of the library's."""
    began = time.perf_counter()
    first, tokens = 0.0, 0
    for piece in session.reply(question, max_tokens=MAX_TOKENS):
        first = first or (time.perf_counter() - began if piece.text else 0.0)
        tokens += piece.token is not None
    return Timed(first, time.perf_counter() - began, tokens)


def of_server(http: Any, model: str, question: str) -> Timed:
    """The same reply of the server's, streamed."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    first, tokens, whole = 0.0, 0, 0.0
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        if not answer.is_success:
            raise EdgeproxyError(f"the server answered {answer.status_code}: {answer.read()!r}")
        for line in answer.iter_lines():
            if not line.startswith(_DATA):
                continue
            if line == _DATA + _END:
                whole = time.perf_counter() - began
                break
            said = json.loads(line.removeprefix(_DATA))
            choices = said.get("choices") or [{}]
            if not first and choices[0].get("delta", {}).get("content"):
                first = time.perf_counter() - began
            if said.get("usage"):
                tokens = said["usage"]["completion_tokens"]
    return Timed(first, whole, tokens)


def measure(
    trio: str, path: Path, count: int, options: Sequence[str], told: Callable[[str], None]
) -> dict[str, Any]:
    """The two figures, of `count` questions that each have a reply of several tokens."""
    import httpx

    here: list[Timed] = []
    there: list[Timed] = []
    with (
        edgeproxy.load(trio) as session,
        Serving(trio, *options) as serving,
        httpx.Client(base_url=serving.url, headers=serving.headers, timeout=_TIMEOUT) as http,
    ):
        for number, question in enumerate(read_questions(path)[: count + 1]):
            told(f"question {number} of {count}")
            one = of_library(session, question)
            other = of_server(http, serving.ready["trio"], question)
            if one.tokens != other.tokens:
                raise EdgeproxyError(
                    f"{question!r}: {other.tokens} tokens from the server, {one.tokens} here"
                )
            if number and one.tokens > 2:  # both warm up at the first question
                here.append(one)
                there.append(other)
    if not here:
        raise EdgeproxyError("no reply had more than two tokens: ask for more questions")
    pairs = list(zip(here, there, strict=True))
    return {
        "trio": trio,
        "questions": len(pairs),
        "tokens": sum(one.tokens for one in here),
        "rate_here": median(one.rate for one in here),
        "rate_there": median(one.rate for one in there),
        "rate_ratio": median(b.rate / a.rate for a, b in pairs),
        "first_here": median(one.first for one in here),
        "first_later": median(b.first - a.first for a, b in pairs),
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    return (
        f"{found['questions']} replies, {found['tokens']} tokens\n"
        f"tokens/s: {found['rate_there']:.1f} streamed, {found['rate_here']:.1f} here: "
        f"{found['rate_ratio']:.3f} of it (bar {RATE_BAR})\n"
        f"first text after {1000 * found['first_here']:.0f} ms here, "
        f"{1000 * found['first_later']:+.1f} ms streamed (bar {1000 * FIRST_BAR:.0f})"
    )
