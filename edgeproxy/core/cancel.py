"""Asking work to stop: a flag that any thread, and any signal handler, may raise."""

from __future__ import annotations

from typing import Protocol


class Cancel(Protocol):
    """What work looks at now and then: a `Flag`, a `threading.Event`, a turn."""

    def is_set(self) -> bool:
        """Whether the work is to stop."""


class Flag:
    """A `Cancel` that a signal handler may set.

    `threading.Event` takes a lock, which the handler could find held by the thread it interrupts.
    """

    def __init__(self) -> None:
        self._up = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._up

    def set(self) -> None:
        """Set it."""
        self._up = True

    def clear(self) -> None:
        """Take it back."""
        self._up = False
