"""Measure what a session in a process of its own costs: start, tokens, cancel, and asyncio.

    python -m tools.measure.isolation [TRIO] [--tokens 2000] [--repeats 5] [--json]

What a token costs is measured without models: pieces that take no time are read in this process and
from a worker, in turn, and the difference of the medians is what the pipe adds. Both processes work
at once there; with models the worker computes meanwhile, and it is an upper bound. The rest is of
the trio: seconds until it is loaded and until the first piece, milliseconds from a cancel to the
end of a reply, and the longest that an asyncio loop stood still while it streamed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.threads import Crew
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.steering import PAPER, Change, Steering
from edgeproxy.session.load import load
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.reading import NOTHING, Read
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Asked, Recorder
from edgeproxy.trios.find import Recipe, Role
from edgeproxy.worker.child import main as serve
from edgeproxy.worker.isolated import IsolatedSession
from edgeproxy.worker.keeper import Keeper
from tools.command import add_json, at_least, make_parser, run

BAR = 0.1
"""Milliseconds that a token may cost more from a worker."""

PROMPT = "What is the capital of Mongolia?"
REPLY_TOKENS = 12
_CHILD = "--serve"


@dataclass(frozen=True)
class Trio:
    """Of one kind of session: seconds to load and to a first piece; milliseconds of the rest."""

    kind: str
    load_seconds: float
    first_seconds: float
    cancel_milliseconds: float
    longest_block_milliseconds: float


class Constant(Speaker[Any]):
    """Answers at once, with as many tokens as are asked for, and no model."""

    def __init__(self) -> None:
        no_model: Any = None
        vocab = Vocab((b"x", b"y"), (Kind.NORMAL, Kind.NORMAL))
        super().__init__(no_model, vocab, frozenset())
        self.steering = PAPER

    def begin(
        self, asked: Asked, cancel: Cancel, record: Recorder, progress: object = None
    ) -> Iterator[Piece]:
        """So many pieces."""
        for _ in range(asked.max_tokens - 1):
            yield Piece(" word", 1, -0.25)
        yield Piece("", 1, -0.25, "length")

    @property
    def n_ctx(self) -> int:
        """Any number."""
        return 1 << 20

    def encode(self, messages: Sequence[object], read: Read = NOTHING, is_raw: bool = False) -> Any:
        """No prompt."""
        return ()

    def _of_tokens(self, tokens: Sequence[int]) -> Any:
        return ()

    def _resume(self, prompt: Any) -> Any:
        return prompt

    def _size(self, prompt: Any) -> int:
        return 0

    def _longest(self, prompt: Any) -> int:
        return 0

    def _work(self, prompt: Any) -> int:
        return 0

    def _steered(self, steering: Steering | None, change: Change) -> Steering | None:
        return steering

    def _check(self, asked: Asked) -> None:
        pass

    def _prepare(self, asked: Asked) -> None:
        pass


class _Nothing:
    def close(self) -> None:
        pass


def constant_session(**_: object) -> Session:
    """A session over a `Constant`."""
    role = Role(Path("none.gguf"))
    return Session(
        Recipe("constant", role, role, role),
        Constant(),
        _Nothing(),
        lambda _role: Constant(),
        matches={},
        crew=Crew(0, 0, 1),
        memory=Estimate(0, 0, 0, 0, 0, 0),
    )


def _command() -> list[str]:
    return [sys.executable, "-m", "tools.measure.isolation", _CHILD]


def pipe(tokens: int, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds a token here, and from a worker, of each repeat."""
    keeper = Keeper({}, command=_command)
    here: list[float] = []
    there: list[float] = []
    with constant_session() as plain, IsolatedSession(keeper, keeper.load(Flag())) as apart:
        for _ in range(repeats):
            for session, found in ((plain, here), (apart, there)):
                started = time.perf_counter()
                for _piece in session.reply("Hello", max_tokens=tokens):
                    pass
                found.append(1000 * (time.perf_counter() - started) / tokens)
    return here, there


def of_trio(trio: str, isolate: bool, repeats: int) -> Trio:
    """The rest of the figures for one kind of session; medians, but for the longest block."""
    started = time.perf_counter()
    with load(trio, isolate=isolate) as session:
        loaded = time.perf_counter() - started
        next(session.reply(PROMPT))
        firsts, cancels, blocks = [], [], []
        for number in range(repeats):
            question = f"{PROMPT} {number}"
            began = time.perf_counter()
            turn = session.reply(question, max_tokens=200)
            next(turn)
            firsts.append(time.perf_counter() - began)
            began = time.perf_counter()
            turn.cancel()
            list(turn)
            cancels.append(1000 * (time.perf_counter() - began))
            blocks.append(asyncio.run(longest_block(session, question)))
    kind = "isolated" if isolate else "here"
    return Trio(kind, loaded, median(firsts), median(cancels), max(blocks))


async def longest_block(session: Session, question: str) -> float:
    """The longest time in milliseconds that the loop did not come round while a reply streamed."""
    longest = 0.0
    is_over = False

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not is_over:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    async for _ in session.reply(question, max_tokens=REPLY_TOKENS):
        pass
    is_over = True
    await watching
    return 1000 * longest


def measure(
    trio: str, tokens: int, repeats: int, told: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """All figures."""
    told("pieces without models")
    here, there = pipe(tokens, repeats)
    rows: list[dict[str, Any]] = []
    for isolate in (False, True):
        told("isolated" if isolate else "in this process")
        rows.append(asdict(of_trio(trio, isolate, repeats)))
    return {
        "bar": BAR,
        "milliseconds_a_token": median(there) - median(here),
        "here": median(here),
        "isolated": median(there),
        "trio": rows,
    }


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    if sys.argv[1:] == [_CHILD]:
        serve(constant_session)
    parser = make_parser("tools.measure.isolation", __doc__)
    parser.add_argument("trio", nargs="?", default="factbook", help="a trio's name or path")
    parser.add_argument("--tokens", type=at_least(2), default=2000, help="tokens without models")
    parser.add_argument("--repeats", type=at_least(1), default=5)
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        return measure(asked.trio, asked.tokens, asked.repeats, working.tell)

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    yield (
        f"a token costs {found['milliseconds_a_token']:.3f} ms more from a worker "
        f"(bar {found['bar']}): {found['isolated']:.3f} ms, {found['here']:.3f} ms here"
    )
    yield f"{'':10}{'load s':>9}{'first s':>9}{'cancel ms':>11}{'block ms':>10}"
    for row in found["trio"]:
        kind, *figures = row.values()
        loaded, first, cancel, block = figures
        yield f"{kind:10}{loaded:9.2f}{first:9.3f}{cancel:11.1f}{block:10.1f}"


if __name__ == "__main__":
    sys.exit(main())
