"""Who may use a context: one thread at a time, none once it is closed, and no forked child."""

from __future__ import annotations

import threading

from edgeproxy.errors import EngineError
from edgeproxy.llama import fork


class Owner:
    """Lets one thread at a time, and none after `close`, into a context.

    A class and not a generator, because it is entered three times a token.
    """

    def __init__(self, lock: threading.Lock, name: str) -> None:
        self._lock = lock
        self._name = name
        self._generation = fork.generation
        self.is_open = False

    @property
    def is_here(self) -> bool:
        """Whether this is the process that the context was made in."""
        return self._generation == fork.generation

    def __enter__(self) -> None:
        # Before the lock: a thread that held it at the fork is not here to let it go.
        if self._generation != fork.generation:
            raise fork.foreign(self._name)
        if not self._lock.acquire(blocking=False):
            raise EngineError("this model is in use by another thread; one at a time")
        if not self.is_open:
            self._lock.release()
            raise EngineError(f"{self._name}: the model has been closed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
