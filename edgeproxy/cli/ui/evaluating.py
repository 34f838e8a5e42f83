"""An evaluation that a person waits for: its replies in a file, how far it is, an end at Ctrl-C.

May touch: the file of replies and its part, standard error, the handler of SIGINT.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.errors import UsageError
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.measure.answering import Answering
    from edgeproxy.measure.evaluate import Question
    from edgeproxy.measure.replies import Replies


@contextlib.contextmanager
def kept_replies(
    path: Path | None,
    sources: Sequence[Path | None],
    run: Mapping[str, Any],
    questions: Sequence[Question],
    total: int,
    resume: bool,
) -> Iterator[Replies | None]:
    """The file to write replies to, opened before minutes are spent on them.

    However the evaluation ends, what came of it is kept, and a person is told.
    """
    from edgeproxy.measure.replies import Replies

    if path is None:
        yield None
        return
    for source in sources:
        if source is not None and path.exists() and path.samefile(source):
            raise UsageError(
                f"{path}: the replies would overwrite the questions; name another file"
            )
    replies = Replies(path, run, questions, resume)
    try:
        yield replies
    finally:
        count = replies.close()
        if count:
            say(f"{count} of {total} replies are kept in {replies.part}; --resume goes on from it")


def shown(work: Answering, workers: int, known: int) -> dict[str, list[str]]:
    """Let the systems answer, showing how far they are; Ctrl-C ends them."""
    status, started = StatusLine(), time.monotonic()

    def progress(done: int, total: int) -> None:
        elapsed = time.monotonic() - started
        rate = (done - known) / elapsed if elapsed else 0.0
        left = f"{duration((total - done) / rate)} left" if rate else "..."
        filled = "#" * (done * 20 // total)
        status.show(f"[{filled:<20}] {done}/{total} replies, {rate:.0f}/s, {left}")

    try:
        with on_interrupt(work.stop):
            return work.run(workers, progress)
    finally:
        status.clear()
