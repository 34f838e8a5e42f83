"""Threads with stacks of a chosen size, for native code that recurses as deep as what it reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from edgeproxy.errors import OutOfMemoryError

Found = TypeVar("Found")

_lock = threading.Lock()


def _after_fork() -> None:
    """The thread that may have held the lock is not in the child."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def start(run: Callable[[], None], stack: int, name: str, doing: str) -> threading.Thread:
    """Start a thread with so many bytes of stack; `doing` is what it does, for an error.

    Raises `OutOfMemoryError` where the system starts none.
    """
    # The size is a global of the interpreter that only threads started under the lock should see.
    with _lock:
        before = threading.stack_size(stack)
        try:
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
        except RuntimeError:
            raise OutOfMemoryError(
                f"there is no memory for a thread that {doing} ({stack >> 20} MB of address "
                "space): close other programs, or allow this one more"
            ) from None
        finally:
            threading.stack_size(before)
    return thread


def on_stack(work: Callable[[], Found], stack: int, name: str, doing: str) -> Found:
    """What `work` returns or raises, in a thread that `start` starts and that has ended then."""
    results: list[Found] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = start(run, stack, name, doing)
    try:
        thread.join()
    except BaseException:
        thread.join()  # Ctrl-C: what the thread still reads must not be freed
        raise
    try:
        if errors:
            raise errors[0]
    finally:
        errors.clear()  # it refers to this frame, which would keep the work until a collection
    return results[0]
