"""`--prompt-cache`: a system message that was read before, or is kept for the next time.

May touch: that file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from edgeproxy.session.session import Session

cache_option = click.option(
    "--prompt-cache",
    "cache",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the system message as it was read in FILE, and do not read it the next time.",
)


def check_cache(system: str | None, path: Path | None) -> None:
    """Raise `UsageError`, before anything is loaded, for a cache that could not be used."""
    if path is None:
        return
    if not system:
        raise UsageError("--prompt-cache keeps the system message; give one with --system")
    from edgeproxy.session.prompt_cache.statefile import check_path

    check_path(path)


def fill_cache(session: Session, system: str | None, path: Path | None) -> list[str]:
    """Have the system message read, where a cache was asked for; what `--stats` says of it.

    A cache that did not fit is told in a line. Raises as `Session.cache_prompt` does, and
    `Cancelled` at Ctrl-C.
    """
    if path is None or not system:
        return []
    started = time.perf_counter()
    status = StatusLine()
    with on_interrupt(session.cancel) as presses:
        try:
            done = session.cache_prompt(
                system, path, lambda what, share: status.show(f"{what} {share:.0%}")
            )
        finally:
            status.clear()
    if presses.count:
        raise Cancelled("the system message was interrupted")
    if done.doubt:
        say(f"warning: {done.doubt}")
    seconds = time.perf_counter() - started
    return [
        f"system message of {done.tokens:,} tokens, {done.spared:,} of them from {path}, "
        f"in {seconds:.2f} s"
    ]
