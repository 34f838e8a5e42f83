"""How much of a prompt has been read, told batch by batch by the models that read it.

Three models read it one after another, and a large one takes longer for a token than a small one:
what is done is weighed by tokens times weights, and said in tokens of the base.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled
from edgeproxy.session.floor import Floor

PromptProgress = Callable[[int, int], None]
"""Called with how many of how many tokens have been read, from any thread. It may raise to stop."""


def work_of(model: Any, tokens: int) -> int:
    """What `model` has to do to read so many tokens: 0 where it is not llama.cpp's."""
    while hasattr(model, "model"):  # an aligned one, or one that remembers
        model = model.model
    return tokens * int(getattr(model, "n_params", 0))


@contextmanager
def listening(
    floor: Floor, progress: PromptProgress | None, tokens: int, work: int, cancel: Cancel
) -> Iterator[None]:
    """While this lasts, `progress` hears of a prompt of so many unread `tokens` that takes `work`.

    It is called with 0 at once. A `cancel` is heard between two batches too, as `Cancelled`.
    """
    done, one_at_a_time = 0, threading.Lock()

    def heard(more: int) -> None:
        nonlocal done
        if cancel.is_set():
            raise Cancelled("the evaluation was cancelled")
        with one_at_a_time:
            # Afterwards there may be more: drafts are evaluated several tokens at once too.
            was, done = done, min(done + more, work)
            if progress is not None and was < done:
                progress(tokens * done // work, tokens)

    if progress is not None:
        progress(0, tokens)
    floor.listener = heard
    try:
        yield
    finally:
        floor.listener = None
