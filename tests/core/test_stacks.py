"""Threads with stacks of a chosen size: what they return, raise and leave behind."""

from __future__ import annotations

import threading

import pytest

from edgeproxy.core.stacks import on_stack
from edgeproxy.errors import OutOfMemoryError

STACK = 1 << 20
NAME, DOING = "a name", "does this"


class PanicError(BaseException):
    """What some native code raises."""


def test_what_is_returned_comes_from_a_thread_that_has_ended() -> None:
    found = on_stack(threading.current_thread, STACK, NAME, DOING)
    assert (found.name, found.is_alive(), found.daemon) == (NAME, False, True)
    assert threading.stack_size() == 0, "later threads have the usual stack"


@pytest.mark.parametrize("kind", [ValueError, PanicError])
def test_what_is_raised_is_raised_here(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("so it is")

    with pytest.raises(kind, match="so it is"):
        on_stack(fail, STACK, NAME, DOING)


def test_where_no_thread_can_be_started_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OutOfMemoryError, match="a thread that does this"):
        on_stack(int, STACK, NAME, DOING)
    assert threading.stack_size() == 0
