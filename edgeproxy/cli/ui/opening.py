"""Loading a trio for a verb: settings checked first, progress shown, Ctrl-C heard.

May touch: the model files, the logging of this process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.options import Models
from edgeproxy.cli.ui.output import StatusLine, clean_message, say
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled

if TYPE_CHECKING:
    from edgeproxy.session.session import Session
    from edgeproxy.trios.find import Recipe


@dataclass(frozen=True)
class Opened:
    """A loaded session and how long that took, in seconds."""

    session: Session
    load_seconds: float


@contextlib.contextmanager
def opened(
    models: Models, recipe: Recipe | None = None, solo: Sequence[str] = ()
) -> Iterator[Opened]:
    """The session that `models` asks for (or `recipe`, with the settings of `models`).

    The models that `solo` names can answer alone too. It is closed afterwards. What its pair loses
    is told in a line each. Raises as `edgeproxy.load` does, and `Cancelled` at Ctrl-C.
    """
    from edgeproxy.align import ALIGNING
    from edgeproxy.session import load as loader

    prepare_logging(models.verbose)
    started = time.perf_counter()
    status = StatusLine()
    cancel = Flag()

    def progress(what: str, share: float) -> None:
        doing = what if what == ALIGNING else f"loading {what.replace('_', '-')}"
        status.show(f"{doing} {share:.0%}")
        if share >= 1.0:
            status.clear()

    with on_interrupt(cancel.set) as presses:
        try:
            session = loader.load(
                recipe or models.name,
                **loading_options(models),
                solo=solo,
                progress=progress,
                cancel=cancel,
            )
        finally:
            status.clear()
    with session:
        if presses.count:
            raise Cancelled("loading was interrupted")
        for doubt in session.doubts:
            say(f"warning: {doubt}")
        yield Opened(session, time.perf_counter() - started)


def loading_options(models: Models) -> dict[str, Any]:
    """What `edgeproxy.load` is given for `models`, but for the trio's name."""
    return {
        "base": models.base,
        "expert": models.expert,
        "anti_expert": models.anti_expert,
        "expert_lora": models.expert_lora or None,
        "prompts": models.prompts,
        **models.steering,
        "docs": models.docs,
        "docs_to": models.docs_to,
        "n_ctx": models.ctx,
        "n_threads": models.threads,
        "kv_type": models.kv,
        "strict": models.strict,
        "draft": models.draft,
        "server": models.server,
        "force": models.force,
    }


def prepare_logging(verbose: int, *, is_shown: bool = False) -> None:
    """Send edgeproxy's log to standard error when asked to, and nowhere otherwise.

    With `is_shown` errors are always shown.
    """
    import logging

    class CleanFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return clean_message(super().format(record))

    logger = logging.getLogger("edgeproxy")
    handler = logging.StreamHandler() if verbose or is_shown else logging.NullHandler()
    handler.setFormatter(CleanFormatter("%(levelname)s %(name)s: %(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO if verbose else logging.ERROR)
