"""An evaluation that a person waits for: its replies in a file, how far it is, an end at Ctrl-C.

May touch: the file of replies and its part, standard error, the handler of SIGINT.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.asking import Asking
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.options import DEFAULT_TRIO, Models
from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.errors import UsageError
from edgeproxy.units import duration, in_units

if TYPE_CHECKING:
    from edgeproxy.measure.answering import Answering
    from edgeproxy.measure.evaluate import Question
    from edgeproxy.measure.replies import Replies
    from edgeproxy.session.session import Session
    from edgeproxy.trios.find import Recipe


@contextlib.contextmanager
def kept_replies(
    asking: Asking,
    sources: Sequence[Path | None],
    run: Mapping[str, Any],
    questions: Sequence[Question],
    total: int,
) -> Iterator[Replies | None]:
    """The file to write replies to, opened before minutes are spent on them.

    However the evaluation ends, what came of it is kept, and a person is told.
    """
    from edgeproxy.measure.replies import Replies

    path = asking.replies
    if path is None:
        yield None
        return
    for source in sources:
        if source is not None and path.exists() and path.samefile(source):
            raise UsageError(
                f"{path}: the replies would overwrite the questions; name another file"
            )
    replies = Replies(path, run, questions, asking.resume)
    try:
        yield replies
    finally:
        count = replies.close()
        if count:
            say(f"{count} of {total} replies are kept in {replies.part}; --resume goes on from it")


def chosen_recipe(models: Models, max_cost: float | None, parallel: int | None) -> Recipe:
    """The trio that is to be measured, with its documents and its server as `models` asks.

    Raises `UsageError` for `max_cost` where the server has no price, and for `parallel` where there
    is no server.
    """
    from edgeproxy.session.reading import chosen_documents
    from edgeproxy.trios.find import find_recipe, on_server

    recipe = find_recipe(models.trio or DEFAULT_TRIO)
    documents = chosen_documents(recipe.documents, models.docs, models.docs_to)
    base = on_server(recipe.base, models.server)
    if max_cost is not None and not (base.endpoint and base.endpoint.has_prices):
        raise UsageError("--max-cost needs price_in and price_out in the manifest's [base]")
    if parallel is not None and not base.endpoint:
        raise UsageError("--parallel is for a base on a server, and all models here are files")
    return replace(recipe, documents=documents, base=base)


def lanes_at_once(
    session: Session, models: Models, parallel: int | None, *, needs_trio: bool
) -> int | None:
    """How many questions the base's server is asked at once; what that takes here is said.

    None where all models are here. Raises as `lanes_of` does.
    """
    from edgeproxy.core.memory_free import free_memory
    from edgeproxy.measure.lanes import lanes_of

    free = None if models.force else free_memory()
    count = lanes_of(session, parallel, free, needs_trio=needs_trio)
    each = session.memory.another
    if count is not None and count > 1 and needs_trio and each:
        more = in_units((count - 1) * each)
        say(f"{count} questions at once, which take {more} more memory", dim=True)
    return count


def check_cost(session: Session, max_cost: float | None) -> None:
    """Raise `UsageError` where the base's server has cost as much as it may."""
    if max_cost and session.spent and session.spent.money >= max_cost:
        raise UsageError(
            f"the server has cost {session.spent.money:.4f}, and --max-cost is {max_cost:g}; with "
            "--replies and a higher one, --resume goes on"
        )


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
