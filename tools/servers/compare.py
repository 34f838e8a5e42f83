"""A base on a server against the same base here: are the texts the same, and what do they cost?

Each way in turn: all log-probabilities of each row, the 20 best, and the pair's bias. Where a text
parts from the one here, it is told how near the two tokens are for the trio here: llama.cpp reads
several tokens at once otherwise than one, so greedy texts part where two are nearly as good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import edgeproxy
from edgeproxy.core.model import Logits
from edgeproxy.decode.drafted import Draft
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question
from edgeproxy.remote.endpoint import ServerChange
from edgeproxy.remote.spent import Spent
from edgeproxy.session.session import Session
from tools.measure.exactness import prompt_of

BEST = 20
"""Log-probabilities of a row that most servers give at most."""

Tell = Callable[[str], None]
Ways = Mapping[str, tuple[ServerChange | None, Draft]]
"""By its name what a way asks of the server, and what drafts."""


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
    parted: list[float] = field(default_factory=list)
    """By how many nats, of each text that is not the one here, the two tokens lie apart here."""


class Reply(NamedTuple):
    """A reply's text, and the tokens that were drawn for it."""

    text: str
    tokens: list[int]


def ways(url: str, others: ServerChange) -> Ways:
    """All ways. What is here without drafts shows what rounding alone does to a text."""
    at: ServerChange = {**others, "url": url}
    return {
        "here": (None, "auto"),
        "here, without drafts": (None, "off"),
        "rows": ({**at, "way": "rows", "logprobs": 10_000_000}, "auto"),
        "rows, a request a token": ({**at, "way": "rows", "logprobs": 10_000_000}, "off"),
        "rows, the 200 best": ({**at, "way": "rows"}, "auto"),
        "rows, the 200 best, a request a token": ({**at, "way": "rows"}, "off"),
        f"top-k, {BEST}": ({**at, "way": "top-k", "logprobs": BEST}, "auto"),
        "bias": ({**at, "way": "bias"}, "off"),
    }


def choose(known: Ways, names: str) -> Ways:
    """The ways that `names` lists with ";" between, in that order, "here" before them.

    Where `names` begins with a base here, "here" is not put before it.

    Raises `UsageError` for a way that is not known.
    """
    kept = [name.strip() for name in names.split(";")]
    if not kept[0].startswith("here"):
        kept = ["here", *kept]
    if unknown := [name for name in kept if name not in known]:
        raise UsageError(f"there is no way {unknown[0]!r}, but these: {'; '.join(known)}")
    return {name: known[name] for name in kept}


def compare(
    trio: str,
    questions: Sequence[Question],
    chosen: Ways,
    tell: Tell,
    here: Path | None = None,
) -> list[dict[str, Any]]:
    """The figures of each way; texts are compared with those of the way that `chosen` begins with.

    `here` is that base where it is not the trio's own file: another quantisation, say.
    """
    tried, replies = [], []
    for way, (server, draft) in chosen.items():
        found, said = try_way(trio, questions, way, server, draft, tell, here)
        replies.append(said)
        found.same = sum(a.text == b.text for a, b in zip(said, replies[0], strict=True))
        tried.append(found)
    if any(each.same < len(questions) for each in tried):
        _tell_partings(trio, questions, tried, replies, tell, here)
    return [{**asdict(each), "questions": len(questions)} for each in tried]


def _tell_partings(
    trio: str,
    questions: Sequence[Question],
    tried: Sequence[Tried],
    replies: Sequence[Sequence[Reply]],
    tell: Tell,
    here: Path | None,
) -> None:
    with edgeproxy.load(trio, base=here, draft="off") as session:
        for found, said in zip(tried, replies, strict=True):
            tell(f"{found.way}: where its texts part")
            found.parted = [
                apart(session, question.text, ours.tokens, theirs.tokens)
                for question, ours, theirs in zip(questions, replies[0], said, strict=True)
                if ours.text != theirs.text
            ]


def apart(session: Session, question: str, ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Nats between the two tokens in which two greedy replies to a question part.

    Of the row here, read token by token, without the mask. A reply that is the beginning of the
    other one has ended with the likeliest token that ends one. Raises `ValueError` where the two
    are the same.
    """
    for place, (our, their) in enumerate(zip_longest(ours, theirs)):
        if our != their:
            row = _row_after(session, question, ours[:place])
            return abs(_value(row, our, session) - _value(row, their, session))
    raise ValueError("these replies are the same")


def _value(row: Logits, token: int | None, session: Session) -> float:
    ends = session.trio.vocab.end_of_generation
    return max(float(row[each]) for each in (ends if token is None else [token]))


def _row_after(session: Session, question: str, said: Sequence[int]) -> Logits:
    trio = session.trio
    trio.steering = replace(session.steering, plausibility=0.0)
    row: Logits = trio.eval(trio.resume(prompt_of(session, question)))[-1]
    for token in said:
        row = trio.eval([token])[-1]
    return row


def try_way(
    trio: str,
    questions: Sequence[Question],
    way: str,
    server: ServerChange | None,
    draft: Draft,
    tell: Tell,
    here: Path | None = None,
) -> tuple[Tried, list[Reply]]:
    """What one way does with the questions, and its replies."""
    found, replies = Tried(way), []
    base = here if server is None else None
    with edgeproxy.load(trio, base=base, server=server, draft=draft) as session:
        started = time.perf_counter()
        for number, question in enumerate(questions):
            tell(f"{way}: {number} of {len(questions)}")
            with session.reply(question.text, max_tokens=question.max_tokens) as turn:
                pieces = list(turn)
            reply = Reply(
                "".join(piece.text for piece in pieces),
                [piece.token for piece in pieces if piece.token is not None],
            )
            spent = turn.stats.spent or Spent()
            found.right += question.verdict(reply.text).right
            found.tokens += turn.stats.tokens
            found.requests += spent.requests
            found.bytes_received += spent.bytes_received
            replies.append(reply)
        found.seconds = time.perf_counter() - started
        found.coverage = (
            session.trio.coverage.share if "best" in way or way.startswith("top-k") else None
        )
    return found, replies


def as_text(tried: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of what `compare` found."""
    lines = [
        "| base | same text | the others part by | right | tokens/s | requests a token "
        "| kB a token | coverage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in tried:
        n, tokens, parted = each["questions"], max(each["tokens"], 1), each["parted"]
        coverage = "" if each["coverage"] is None else f"{each['coverage']:.1%}"
        nats = f"{median(parted):.2f} nats, {max(parted):.2f} at most" if parted else ""
        lines.append(
            f"| {each['way']} | {each['same'] / n:.1%} | {nats} | {each['right'] / n:.1%} "
            f"| {tokens / each['seconds']:.1f} | {each['requests'] / tokens:.2f} "
            f"| {each['bytes_received'] / tokens / 1e3:.1f} | {coverage} |"
        )
    return "\n".join(lines)


def read_all(path: Path, limit: int | None) -> list[Question]:
    """The first questions of a file."""
    from edgeproxy.measure.evaluate import read_questions

    return list(read_questions(path))[:limit]
