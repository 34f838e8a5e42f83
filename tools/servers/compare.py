"""A base on a server against the same base here: are the texts the same, and what do they cost?

Each way in turn: all log-probabilities of each row, the 20 best, and the pair's bias.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgeproxy
from edgeproxy.decode.drafted import Draft
from edgeproxy.measure.evaluate import Question
from edgeproxy.remote.endpoint import ServerChange
from edgeproxy.remote.spent import Spent

BEST = 20
"""Log-probabilities of a row that most servers give at most."""

Tell = Callable[[str], None]


@dataclass
class Tried:
    """What one way did: replies like those here, right ones, tokens, seconds, and its cost."""

    way: str
    same: int = 0
    right: int = 0
    tokens: int = 0
    seconds: float = 0.0
    requests: int = 0
    bytes_received: int = 0
    coverage: float | None = None


def ways(url: str, others: ServerChange) -> dict[str, tuple[ServerChange | None, Draft]]:
    """By its name what a way asks of the server, and what drafts."""
    at: ServerChange = {**others, "url": url}
    return {
        "here": (None, "auto"),
        "rows": ({**at, "way": "rows", "logprobs": 10_000_000}, "auto"),
        "rows, a request a token": ({**at, "way": "rows", "logprobs": 10_000_000}, "off"),
        "rows, the 200 best": ({**at, "way": "rows"}, "auto"),
        "rows, the 200 best, a request a token": ({**at, "way": "rows"}, "off"),
        f"top-k, {BEST}": ({**at, "way": "top-k", "logprobs": BEST}, "auto"),
        "bias": ({**at, "way": "bias"}, "off"),
    }


def compare(
    trio: str,
    questions: Sequence[Question],
    chosen: dict[str, Any],
    tell: Tell,
    here: Path | None = None,
) -> list[dict[str, Any]]:
    """What each way did with these questions, the base here before all others.

    `here` is that base where it is not the trio's own file: another quantisation, say.
    """
    tried, texts = [], []
    for way, (server, draft) in chosen.items():
        found, said = try_way(trio, questions, way, server, draft, tell, here)
        texts.append(said)
        found.same = sum(a == b for a, b in zip(said, texts[0], strict=True))
        tried.append({**asdict(found), "questions": len(questions)})
    return tried


def try_way(
    trio: str,
    questions: Sequence[Question],
    way: str,
    server: ServerChange | None,
    draft: Draft,
    tell: Tell,
    here: Path | None = None,
) -> tuple[Tried, list[str]]:
    """What one way does with the questions, and its replies."""
    found, texts = Tried(way), []
    base = here if server is None else None
    with edgeproxy.load(trio, base=base, server=server, draft=draft) as session:
        started = time.perf_counter()
        for number, question in enumerate(questions):
            tell(f"{way}: {number} of {len(questions)}")
            with session.reply(question.text, max_tokens=question.max_tokens) as turn:
                text = "".join(piece.text for piece in turn)
            spent = turn.stats.spent or Spent()
            found.right += question.verdict(text).right
            found.tokens += turn.stats.tokens
            found.requests += spent.requests
            found.bytes_received += spent.bytes_received
            texts.append(text)
        found.seconds = time.perf_counter() - started
        found.coverage = (
            session.trio.coverage.share if "best" in way or way.startswith("top-k") else None
        )
    return found, texts


def as_text(tried: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of what `compare` found."""
    lines = [
        "| base | same text | right | tokens/s | requests a token | kB a token | coverage |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in tried:
        n, tokens = each["questions"], max(each["tokens"], 1)
        coverage = "" if each["coverage"] is None else f"{each['coverage']:.1%}"
        lines.append(
            f"| {each['way']} | {each['same'] / n:.1%} | {each['right'] / n:.1%} "
            f"| {tokens / each['seconds']:.1f} | {each['requests'] / tokens:.2f} "
            f"| {each['bytes_received'] / tokens / 1e3:.1f} | {coverage} |"
        )
    return "\n".join(lines)


def read_all(path: Path, limit: int | None) -> list[Question]:
    """The first questions of a file."""
    from edgeproxy.measure.evaluate import read_questions

    return list(read_questions(path))[:limit]
