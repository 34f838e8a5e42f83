"""The parent's end, heard: by its number, and by a pipe that ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from edgeproxy.serve.http import parent
from edgeproxy.serve.http.parent import is_pipe, looks_for_parent, read_to_end, when_parent_ends

SECONDS = 60.0


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The two ends of a pipe, which a test may close: to read and to write."""
    found = [*os.pipe()]
    yield found
    for each in found:
        os.close(each)


def test_a_pipe_is_known(ends: list[int]) -> None:
    assert is_pipe(ends[0])
    with open(os.devnull) as nothing:  # noqa: PTH123
        assert not is_pipe(nothing.fileno())


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_pipe_is_read_to_its_end_and_no_earlier(ends: list[int], is_blocking: bool) -> None:
    if sys.platform != "win32":
        os.set_blocking(ends[0], is_blocking)
    reading = threading.Thread(target=read_to_end, args=(ends[0],))
    reading.start()
    reading.join(0.2)
    os.write(ends[1], b"x" * 100)
    assert reading.is_alive()
    os.close(ends.pop())
    reading.join(SECONDS)
    assert not reading.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="a parent has a handle there")
def test_a_parent_that_ends_before_anybody_waits_is_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parent, "is_pipe", lambda _: False)
    is_there = looks_for_parent()
    assert is_there()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    ended = threading.Event()
    when_parent_ends(ended.set, is_there)
    assert ended.wait(SECONDS)
