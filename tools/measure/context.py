"""Measure what a long context costs a trio, and what a turn of a long conversation does.

    python -m tools.measure.context TRIO [--lengths 256,512,1024,2048,4096] [--turns 10] [--json]

Milliseconds of a token are taken by the trio, token by token, and by each of its models on its
own, in turn and on the same contexts. The same tokens are read at each length, then forgotten.
What 1,000 tokens of context add is the slope of a line through the medians. In the conversation
each message is as long as the others, so only what is new in a turn should have to be read: `again`
counts tokens evaluated beyond that. A pair with a tokenizer of its own tries some, which count too,
and may have tried the right ones a turn before. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import Any, cast

import numpy as np

from edgeproxy.align import ProjectedModel
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Model
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import Cancelled
from edgeproxy.llama import LlamaModel
from edgeproxy.measure.machine import machine
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import find_recipe
from tools.command import add_json, at_least, make_parser, run

ROLES = ("base", "expert", "anti_expert")
TEXT = "The capital of Mongolia is Ulaanbaatar. It lies on the river Tuul, high above the sea.\n"
MESSAGE = "What is the capital of Mongolia?"
_ROOM = 64
_LARGEST = 1 << 17

Told = Callable[[str], None]


class Observed:
    """A session whose three contexts can be seen: base, expert and anti-expert."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.trio = session.trio
        self.contexts = [cast(LlamaModel, getattr(m, "model", m)) for m in self.trio.models]

    @property
    def text_lengths(self) -> list[int]:
        """How many tokens of its own each model has read of the text.

        One whose tokenizer is its own may have read on, to try what could follow.
        """
        return [
            len(role.own_read) if isinstance(role, ProjectedModel) else context.n_past
            for role, context in zip(self.trio.models, self.contexts, strict=True)
        ]

    @property
    def evaluated(self) -> list[int]:
        """How many tokens each model has ever evaluated."""
        return [context.evaluated for context in self.contexts]


@dataclass(frozen=True)
class Length:
    """Milliseconds of a token after so many: the trio's, and each of its models' own. Medians."""

    tokens: int
    trio: float
    models: tuple[float, ...]


@dataclass(frozen=True)
class Turn:
    """One turn: seconds to the first token, tokens evaluated for it by each model, and how many of
    those beyond what was new in the prompt."""

    first: float
    evaluated: tuple[int, ...]
    again: tuple[int, ...]


def measure_lengths(
    session: Observed, lengths: Sequence[int], rounds: int, steps: int, told: Told
) -> list[Length]:
    """Times at each length, the shortest first. The session's text is forgotten."""
    trio = session.trio
    text = trio.vocab.encode(TEXT)
    own = [context.vocab.encode(TEXT)[0] for context in session.contexts]
    times: dict[int, list[list[float]]] = {n: [[], [], [], []] for n in sorted(set(lengths))}
    for number in range(1, rounds + 1):
        forget(session)
        have = 0
        for n, (of_trio, *of_models) in times.items():
            told(f"round {number} of {rounds}: reading up to {n:,} tokens")
            trio.eval(list(islice(cycle(text), have, n)))
            have = n
            for token in islice(cycle(text), steps):
                told(f"round {number} of {rounds}: {n:,} tokens")
                of_trio.append(_milliseconds(trio, token))
                for model, spent, one in zip(session.contexts, of_models, own, strict=True):
                    spent.append(_milliseconds(model, one))
                    model.rewind(1)
            trio.rewind(steps)
    medians = {n: [median(spent) for spent in found] for n, found in times.items()}
    return [Length(n, of_trio, tuple(rest)) for n, (of_trio, *rest) in medians.items()]


def _milliseconds(model: Model | Trio, token: int) -> float:
    started = time.perf_counter()
    model.eval([token])
    return 1e3 * (time.perf_counter() - started)


def forget(session: Observed) -> None:
    """Begin anew. A pair with a tokenizer of its own would put it off until it reads again."""
    session.trio.resume(RoleTokens([], [], []))
    for context in session.contexts:
        context.rewind(context.n_past)


def slope(points: Sequence[tuple[int, float]]) -> float:
    """What 1,000 tokens more add, by least squares; 0 for a single length."""
    if len(points) < 2:
        return 0.0
    lengths, times = zip(*points, strict=True)
    return float(np.polyfit(np.array(lengths) / 1000, times, 1)[0])


def measure_chat(
    session: Observed, messages: Sequence[str], max_tokens: int, told: Told
) -> list[Turn]:
    """One conversation from its beginning, a message in each turn."""
    forget(session)
    conversation = session.session.conversation()
    found = []
    for number, message in enumerate(messages, 1):
        told(f"turn {number} of {len(messages)}")
        had, before = session.text_lengths, session.evaluated
        started = time.perf_counter()
        pieces = conversation.say(message, max_tokens=max_tokens)
        next(pieces)
        first = time.perf_counter() - started
        new = np.subtract(session.text_lengths, had)
        evaluated = np.subtract(session.evaluated, before)
        # What is read otherwise than before is forgotten first: the text grows by less.
        again = (evaluated - new).tolist()
        found.append(Turn(first, tuple(evaluated.tolist()), tuple(again)))
        if [piece.finish_reason for piece in pieces][-1:] == ["cancelled"]:
            raise Cancelled("the measurement was interrupted")
    return found


def measure(
    trio: str,
    lengths: Sequence[int],
    *,
    turns: int,
    chats: int = 3,
    rounds: int = 3,
    steps: int = 16,
    max_tokens: int = 32,
    message: str = MESSAGE,
    threads: int | None = None,
    told: Told = lambda _what: None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """All figures, as JSON has them. `told` hears what is measured; `cancel` ends it.

    Raises what loading and replies raise.
    """
    told("loading")
    # A pair with a tokenizer of its own may need more tokens for the same text.
    n_ctx = max(max(lengths) * 3 // 2 + steps + _ROOM, turns * (max_tokens + len(message) + _ROOM))
    recipe = find_recipe(trio)
    with load(recipe, n_ctx=n_ctx, n_threads=threads, cancel=cancel) as loaded:
        session = Observed(loaded)
        found = measure_lengths(session, lengths, rounds, steps, told)
        spoken = [measure_chat(session, [message] * turns, max_tokens, told) for _ in range(chats)]
    slopes = [slope([(one.tokens, one.models[n]) for one in found]) for n in range(len(ROLES))]
    of_trio = slope([(one.tokens, one.trio) for one in found])
    by_turn = [[chat[n] for chat in spoken] for n in range(turns)]
    first = [1e3 * median(turn.first for turn in same) for same in by_turn]
    return {
        "trio": loaded.recipe.name,
        "lengths": [
            {
                "tokens": one.tokens,
                "trio_ms": one.trio,
                "tokens_per_second": 1e3 / one.trio,
                "models_ms": dict(zip(ROLES, one.models, strict=True)),
            }
            for one in found
        ],
        "ms_for_1000_tokens": {
            "trio": of_trio,
            **dict(zip(ROLES, slopes, strict=True)),
            "trio / models": of_trio / sum(slopes) if sum(slopes) else None,
        },
        "turns": [
            {
                "turn": number,
                "first_token_ms": first[number - 1],
                # Greedy, so that every chat says the same.
                "evaluated": dict(zip(ROLES, same[0].evaluated, strict=True)),
                "again": dict(zip(ROLES, same[0].again, strict=True)),
            }
            for number, same in enumerate(by_turn, 1)
        ],
        "last / second turn": first[-1] / first[1] if turns > 2 else None,
        "machine": machine(),
    }


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The lines that a person reads."""
    yield f"{'context':>8} {'tokens/s':>9} {'ms':>8}   each model's own ms"
    for one in found["lengths"]:
        own = " ".join(f"{spent:8.2f}" for spent in one["models_ms"].values())
        yield f"{one['tokens']:8,} {one['tokens_per_second']:9.1f} {one['trio_ms']:8.2f} {own}"
    slopes = found["ms_for_1000_tokens"]
    if slopes["trio / models"] is not None:
        yield (
            f"1,000 tokens of context add {slopes['trio']:.3f} ms to a token, "
            f"{slopes['trio / models']:.2f}x what they add to its models "
            f"({' + '.join(f'{slopes[role]:.3f}' for role in ROLES)})"
        )
    yield ""
    yield f"{'turn':>8} {'first token':>14}   read by base, expert, anti-expert"
    for one in found["turns"]:
        read = ", ".join(
            f"{count}" + (f" ({again} again)" if again else "")
            for count, again in zip(one["evaluated"].values(), one["again"].values(), strict=True)
        )
        yield f"{one['turn']:8} {one['first_token_ms']:11.1f} ms   {read}"
    if found["last / second turn"] is not None:
        yield f"first token of the last turn: {found['last / second turn']:.2f}x the second turn's"


def _lengths(text: str) -> list[int]:
    return [at_least(1)(part) for part in text.split(",")]


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.context", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    default = [256, 512, 1024, 2048, 4096]
    parser.add_argument("--lengths", type=_lengths, default=default, help="in tokens, with commas")
    parser.add_argument("--turns", type=at_least(1), default=10, help="of a conversation")
    parser.add_argument("--chats", type=at_least(1), default=3, help="conversations")
    parser.add_argument(
        "--rounds", type=at_least(1), default=3, help="how often each length is visited"
    )
    parser.add_argument("--steps", type=at_least(1), default=16, help="tokens of a visit")
    parser.add_argument("--max-tokens", type=at_least(1), default=32, help="the longest reply")
    parser.add_argument("--message", default=MESSAGE, help="what is said in each turn")
    parser.add_argument(
        "--threads", type=at_least(1), help="for each model [default: as edgeproxy does]"
    )
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        return measure(**vars(asked), told=working.tell, cancel=working.stop)

    return run(parser, work, lambda found: "\n".join(as_text(found)))


if __name__ == "__main__":
    sys.exit(main())
