"""Who may use a context: one thread at a time, and none once it is closed."""

from __future__ import annotations

import threading

from edgeproxy.errors import EngineError


class Owner:
    """Lets one thread at a time, and none after `close`, into a context.

    A class and not a generator, because it is entered three times a token.
    """

    def __init__(self, lock: threading.Lock, name: str) -> None:
        self._lock = lock
        self._name = name
        self.is_open = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise EngineError("this model is in use by another thread; one at a time")
        if not self.is_open:
            self._lock.release()
            raise EngineError(f"{self._name}: the model has been closed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
