"""What a server is told of documents that the expert alone reads, and how right the replies are.

The same questions are asked with the base here and with the base on a server, in each way; all that
goes to the server is recorded and searched for what stands in the passages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.biased import BiasedTrio, Sent
from edgeproxy.measure.compare import compare, p_in_words, share_in_words
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import share
from edgeproxy.remote.endpoint import ServerChange
from edgeproxy.remote.spent import Spent
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Turn
from tools.documents.asking import Setup, ask
from tools.documents.told import Told
from tools.servers.recording import Record, recorded

SYSTEM = "proxy/docs=expert"
HERE = "here"
WAYS: dict[str, ServerChange] = {
    "rows": {"way": "rows"},
    "bias": {"way": "bias"},
    "bias by OpenAI's limits": {"way": "bias", "protocol": "openai"},
}
RUN = 16
"""So many bytes of a passage in a row, in a request, were told the server."""

COUNTED = ("requests", "reply_tokens", "bytes_sent", "bytes_received")
"""Counted of each reply, besides the runs of passages in its requests."""

_HEAD = (
    *("base", "right", "text as here", "seconds a reply", "requests a token"),
    *("kB sent, back a token", "told of passages"),
)


class Overhearing:
    """Searches the requests of each reply for its passages, and counts what a bias was cut."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._before = Sent()

    def __call__(self, session: Session, turn: Turn, question: str, text: str) -> dict[str, Any]:
        """What the server was told for this reply, as a line of JSON has it.

        `told` are runs of a passage, `RUN` bytes each, that are in a request and neither in the
        question nor in the reply.
        """
        bodies = self._record.take()
        vocab = session.trio.vocab
        sent = b"\0".join(part for body in bodies for part in texts_of(body, vocab))
        own = question.encode(), text.encode()
        told = {
            run
            for found in turn.read.found
            for run in _runs(found.passage.full_text.encode())
            if run in sent and not any(run in each for each in own)
        }
        spent = turn.stats.spent or Spent()
        return {
            "requests": len(bodies),
            "reply_tokens": turn.stats.tokens,
            "bytes_sent": spent.bytes_sent,
            "bytes_received": spent.bytes_received,
            "told": sorted(run.decode(errors="replace") for run in told),
            **self._bias_of(session),
        }

    def _bias_of(self, session: Session) -> dict[str, int]:
        trio = session.trio
        if not isinstance(trio, BiasedTrio):
            return {}
        before, self._before = self._before, replace(trio.sent)
        return {key: each - getattr(before, key) for key, each in asdict(trio.sent).items()}


def texts_of(body: bytes, vocab: Vocab) -> Iterator[bytes]:
    """A request's body, and each list of token ids in it as the text that it stands for."""
    yield body
    try:
        whole = json.loads(body) if body else None
    except ValueError:
        return
    waiting = [whole]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list) and value and all(type(each) is int for each in value):
            yield b"".join(vocab.tokens[token] for token in value if 0 <= token < len(vocab))
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            yield value.encode(errors="replace")


def _runs(text: bytes) -> set[bytes]:
    return {text[at : at + RUN] for at in range(len(text) - RUN + 1)}


def measure(
    setup: Setup, url: str, questions: Sequence[Question], out: Path, work: Working
) -> dict[str, Any]:
    """Ask with the base here, then on the server at `url` in each way; the figures of all."""

    def asked(name: str, setup: Setup, beside: Overhearing | None = None) -> list[Told]:
        return ask(setup, [SYSTEM], questions, out / f"{name}.jsonl", work, beside)[SYSTEM]

    told = {HERE: asked(HERE, setup)}
    for way, server in WAYS.items():
        with recorded(url) as record:
            at: ServerChange = {**server, "url": record.url, "context": setup.ctx}
            told[way] = asked(way, replace(setup, server=at), Overhearing(record))
    return figures(told)


def figures(told: Mapping[str, Sequence[Told]]) -> dict[str, Any]:
    """How right the replies are by where the base is, and what its server was told."""
    here = told[HERE]
    right = {name: [one.right for one in each] for name, each in told.items()}
    found = [compare(name, right[name], HERE, right[HERE]) for name in told if name != HERE]
    return {
        "questions": len(here),
        "systems": {
            name: {
                **share(right[name]),
                "same": sum(a.text == b.text for a, b in zip(each, here, strict=True)),
                "seconds": median(one.seconds for one in each),
                **_told(each),
            }
            for name, each in told.items()
        },
        "comparisons": [
            {"one": each.one, "only_one": each.only_one, "only_other": each.only_other, "p": each.p}
            for each in found
        ],
    }


def _told(told: Sequence[Told]) -> dict[str, Any]:
    beside = [one.beside for one in told if one.beside]
    if not beside:
        return {}
    return {
        "told": sorted({run for each in beside for run in each["told"]}),
        **{key: sum(each.get(key, 0) for each in beside) for key in (*COUNTED, *asdict(Sent()))},
    }


def _asked_in_words(served: Mapping[str, Any]) -> tuple[str, str, str]:
    requests, tokens, sent, received = (served[key] for key in COUNTED)
    tokens = max(tokens, 1)
    kilobytes = f"{sent / tokens / 1e3:.1f}, {received / tokens / 1e3:.1f}"
    return f"{requests / tokens:.2f}", kilobytes, str(len(served["told"]))


def as_text(found: Mapping[str, Any]) -> str:
    """The figures for a person: a table in Markdown, and what was told."""
    n = found["questions"]
    lines = [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for name, each in found["systems"].items():
        asked = _asked_in_words(each) if "requests" in each else ("", "", "")
        right = share_in_words(round(each["accuracy"] * n), n)
        cells = (name, right, f"{each['same'] / n:.0%}", f"{each['seconds']:.2f}", *asked)
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for pair in found["comparisons"]:
        lines.append(
            f"{pair['one']} against {HERE}: {pair['only_one']} right alone, "
            f"{pair['only_other']} the other way, {p_in_words(pair['p'])}"
        )
    lines += [
        f"{name}: {each['tokens'] / each['steps']:.0f} tokens biased a step, "
        f"{each['left_out'] / (each['tokens'] + each['left_out']):.1%} left out as too many, "
        f"{each['cut'] / each['tokens']:.2%} cut as too large"
        for name, each in found["systems"].items()
        if each.get("steps")
    ]
    told = [run for each in found["systems"].values() for run in each.get("told", [])]
    lines += [f"told: {run!r}" for run in told]
    lines.append(f"Searched for: {RUN} bytes of a passage in a row, in any request.")
    return "\n".join(lines)
