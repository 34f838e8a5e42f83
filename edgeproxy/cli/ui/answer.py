"""Several systems answering the same questions side by side, for `eval`.

Each system has a thread and a context of its own; llama.cpp leaves Python's lock while it computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled
from edgeproxy.measure.evaluate import Question, first_line
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.session.session import Session
    from edgeproxy.session.speaker import Speaker
    from edgeproxy.trios.find import Recipe

_BY_COST = ("proxy", "tuned", "base", "expert", "anti_expert")
"""The slowest first, so that no processor is idle while it ends."""


@dataclass(frozen=True)
class FirstLine:
    """Asks a speaker a question, for the first line of its reply alone."""

    sampling: Sampling
    max_tokens: int

    def __call__(
        self, speaker: Speaker[Any], question: Question, is_stopping: Callable[[], bool]
    ) -> str:
        """That line. Raises `Cancelled` once `is_stopping`."""
        from edgeproxy.prompts.formats import Message

        text = ""
        for piece in speaker.reply(
            [Message("user", question.text)], self.sampling, self.max_tokens
        ):
            if is_stopping():
                raise Cancelled("the evaluation was interrupted")
            text += piece.text
            # A reply may begin with blank lines; it is its first real one that counts.
            if "\n" in text.lstrip():
                break
        return first_line(text)


def answer_all(
    session: Session,
    systems: Sequence[str],
    questions: Sequence[Question],
    reply_of: FirstLine,
    workers: int,
    after_each: Callable[[str], None] = lambda _name: None,
) -> dict[str, list[str]]:
    """Every system's replies, in the order of the questions. Raises `Cancelled` at Ctrl-C.

    `after_each` is called with the system's name, in its thread, when it has replied.
    """
    stopping = Flag()

    def stop() -> None:
        stopping.set()
        session.cancel()

    with on_interrupt(stop):
        # Also made with Ctrl-C in hand: an exception in one of llama.cpp's callbacks gets lost.
        speakers: dict[str, Speaker[Any]] = {
            name: session.speaker if name == "proxy" else session.solo(name)
            for name in _BY_COST
            if name in systems
        }
        replies: dict[str, list[str]] = {name: [] for name in systems}

        def answer(name: str) -> None:
            for question in questions:
                replies[name].append(reply_of(speakers[name], question, stopping.is_set))
                after_each(name)

        with ThreadPoolExecutor(workers) as pool:
            work = [pool.submit(answer, name) for name in speakers]
            try:
                _wait(work, replies, len(systems) * len(questions))
            finally:
                stop()  # one that failed, or Ctrl-C, stops the others; the pool waits for them
    return replies


def _wait(work: Sequence[Future[None]], replies: Mapping[str, Sequence[str]], total: int) -> None:
    """Show progress until all work is done, or raise what the first part of it raised."""
    status, started = StatusLine(), time.monotonic()
    try:
        while wait(work, timeout=0.1, return_when=FIRST_EXCEPTION).not_done:
            if any(part.done() and part.exception() for part in work):
                break
            status.show(_progress(sum(map(len, replies.values())), total, started))
        for part in work:
            if part.done():
                part.result()
    finally:
        status.clear()


def workers(recipe: Recipe, threads: int | None) -> int:
    """How many systems run at once, so that together they use the processors there are."""
    from edgeproxy.cli.show import count_parameters
    from edgeproxy.core.threads import default_threads, processors
    from edgeproxy.gguf import read

    threads = threads or default_threads(count_parameters(read(recipe.base.path)))
    return max(1, processors() // threads)


def _progress(done: int, total: int, started: float) -> str:
    elapsed = time.monotonic() - started
    rate = done / elapsed if elapsed else 0.0
    left = f"{duration((total - done) / rate)} left" if rate else "..."
    filled = "#" * (done * 20 // total)
    return f"[{filled:<20}] {done}/{total} replies, {rate:.0f}/s, {left}"
