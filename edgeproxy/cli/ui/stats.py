"""The numbers that matter to a person, for `--stats`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgeproxy.session.memory_free import peak_memory

if TYPE_CHECKING:
    from edgeproxy.align import Cost
    from edgeproxy.decode.pieces import Piece
    from edgeproxy.session.load import Session


class Meter:
    """Times one reply while its pieces pass through `watch`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first = self._last = self._started
        self.tokens = 0

    def watch(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The same pieces, counted and timed."""
        for piece in pieces:
            if piece.token is not None:
                self._last = time.perf_counter()
                if self.tokens == 0:
                    self._first = self._last
                self.tokens += 1
            yield piece

    def line(self, session: Session, load_seconds: float, more: Sequence[str] = ()) -> str:
        """Tokens, tokens a second, time to the first one, load time, `more`, memory, the pair."""
        parts = [f"{self.tokens} tokens"]
        if self.tokens > 1 and self._last > self._first:
            parts.append(f"{(self.tokens - 1) / (self._last - self._first):.1f} tokens/s")
        if self.tokens:
            parts.append(f"first token after {self._first - self._started:.2f} s")
        parts += [f"loaded in {load_seconds:.2f} s", *more, *peak_in_words()]
        parts += [pair_in_words(session, [session.cost]), drafts_in_words(session)]
        parts.append(threads_in_words(session))
        return ", ".join(parts)


def drafts_in_words(session: Session) -> str:
    """What drafting did in the last reply: tokens a cycle, and how many drafted ones were drawn."""
    if session.drafter.mode == "off":
        return "drafts: off"
    done = session.drafter.done
    words = f"drafts: {session.drafter.mode}, {done.drafted} tokens"
    if not done.drafted or not done.cycles:
        return words
    return (
        f"{words}, {done.accepted / done.drafted:.0%} of them accepted, "
        f"{done.tokens / done.cycles:.1f} tokens a cycle"
    )


def threads_in_words(session: Session) -> str:
    """How many threads base and pair had last, and whether the pair evaluated at once."""
    crew = session.crew
    words = f"threads: {crew.base.choice.best} for the base, {crew.pair.choice.best} for the pair"
    return words + (", both at once" if crew.beside is not None and crew.beside.choice.best else "")


_CASES = ("same", "padded", "permuted", "different")


def pair_in_words(session: Session, costs: Iterable[Cost | None]) -> str:
    """How the pair's vocabulary is related to the base's, and what replies of these `costs` took.

    An evaluation is one token read by the expert; the ideal reads each reply's text once.
    """
    case = max((found.case for found in session.matches.values()), key=_CASES.index)
    known = [cost for cost in costs if cost is not None]
    tokens, evaluated, ideal = map(sum, zip((0, 0, 0), *known, strict=True))
    words = f"pair: {case} vocabulary"
    if not tokens or not ideal:
        return words
    return (
        f"{words}, read {evaluated / tokens:.2f} tokens a token "
        f"(ideal {ideal / tokens:.2f}, {evaluated / ideal:.2f}x)"
    )


def peak_in_words() -> list[str]:
    """The most memory this process has held, where the system tells."""
    peak = peak_memory()
    return [] if peak is None else [f"peak memory {peak / 1e6:.0f} MB"]
