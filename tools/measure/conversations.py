"""Measure what conversations in turn wait for a first token, against one that is alone.

    python -m tools.measure.conversations TRIO [--conversations 8] [--turns 10] [--repeats 3]

So many conversations ask one question after the other, each of them in turn, and the same ones ask
alone. Times to the first token are compared turn by turn, so that the same text was read before;
the ratio is the median of in turn over alone. The figure to hold is 1.5 with a shelf; what it is
without one is measured too. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache.shelf import Shelf
from edgeproxy.session.session import Session
from tools.command import add_json, at_least, make_parser, run

BAR = 1.5
BUDGET = 1 << 30
"""Bytes of the shelf: more than so many short conversations need."""

_CONTEXT = 2048
_REPLY = 12  # tokens

TOPICS = ("Mongolia", "Peru", "Chad", "Fiji", "Norway", "Laos", "Cuba", "Bhutan", "Mali", "Oman")
QUESTIONS = (
    "What is the capital of {}?",
    "And what is its currency?",
    "Which languages do people speak in {}?",
    "Who are its neighbours?",
    "Tell me about the climate of {}.",
    "What does it export?",
    "How many people live in {}?",
    "What is its highest point?",
    "Which rivers are there in {}?",
    "And what is its largest city?",
)

Firsts = dict[tuple[int, int], list[float]]
"""Seconds to the first token, by conversation and turn, one of each repeat."""


@dataclass(frozen=True)
class Result:
    """Medians over all turns: in turn / alone, and milliseconds; `kept` is the share not read."""

    way: str
    ratio: float
    in_turn: float
    alone: float
    kept: float


def measure(
    trio: str, conversations: int, turns: int, repeats: int, told: Callable[[str], None]
) -> list[Result]:
    """Measure the trio called `trio`, or at that path, with and without a shelf."""
    ways = {"with a shelf": Shelf(BUDGET), "without": None}
    alone: Firsts = {}
    in_turn: dict[str, Firsts] = {way: {} for way in ways}
    kept: dict[str, list[float]] = {way: [] for way in ways}
    with load(trio, n_ctx=_CONTEXT, force=True) as session:
        places = range(conversations)
        for number in range(repeats):
            for way, shelf in ways.items():
                told(f"repeat {number + 1} of {repeats}: in turn, {way}")
                _forget(session, shelf)
                order = list(itertools.product(range(turns), places))
                kept[way] += _ask(session, order, in_turn[way])
            told(f"repeat {number + 1} of {repeats}: alone")
            for place in places:
                _forget(session, None)
                _ask(session, ((turn, place) for turn in range(turns)), alone)
        session.trio_speaker.shelf = None
    return [
        Result(
            way,
            _middle(median(found[at]) / median(alone[at]) for at in alone),
            1000 * _middle(map(median, found.values())),
            1000 * _middle(map(median, alone.values())),
            _middle(kept[way]),
        )
        for way, found in in_turn.items()
    ]


def _middle(numbers: Iterable[float]) -> float:
    return median(list(numbers))


def _forget(session: Session, shelf: Shelf | None) -> None:
    """Have the models hold nothing, nor the shelf that comes into use."""
    session.trio.resume(RoleTokens([0], [0], [0]))
    session.trio_speaker.shelf = shelf
    session.trio_speaker.close()


def _ask(session: Session, order: Iterable[tuple[int, int]], firsts: Firsts) -> list[float]:
    """Ask as `order` says, of turns and conversations; which share of each prompt was kept."""
    talks: dict[int, Conversation] = {}
    kept = []
    for turn, place in order:
        talk = talks.setdefault(place, session.conversation())
        topic = f"{TOPICS[place % len(TOPICS)]}{place // len(TOPICS) or ''}"
        reply = talk.say(QUESTIONS[turn % len(QUESTIONS)].format(topic), max_tokens=_REPLY)
        for _ in reply:
            pass
        firsts.setdefault((place, turn), []).append(reply.stats.first_seconds)
        kept.append(reply.usage.kept / reply.usage.prompt)
    return kept


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.conversations", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument("--conversations", type=at_least(1), default=8)
    parser.add_argument("--turns", type=at_least(1), default=10)
    parser.add_argument("--repeats", type=at_least(1), default=3)
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        counts = asked.conversations, asked.turns
        results = measure(asked.trio, *counts, asked.repeats, working.tell)
        return {
            "bar": BAR,
            "conversations": asked.conversations,
            "turns": asked.turns,
            "repeats": asked.repeats,
            "first_tokens": [asdict(result) for result in results],
        }

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    yield (
        f"{found['conversations']} conversations of {found['turns']} turns, medians of "
        f"{found['repeats']}; bar {found['bar']} with a shelf"
    )
    yield f"{'time to the first token':24}{'ratio':>8}{'in turn':>11}{'alone':>10}{'kept':>8}"
    for result in found["first_tokens"]:
        times = f"{result['in_turn']:8.1f} ms{result['alone']:7.1f} ms"
        yield f"{result['way']:24}{result['ratio']:8.2f}{times}{result['kept']:8.0%}"


if __name__ == "__main__":
    sys.exit(main())
