"""What was freed goes back to the system, where the C library is one that keeps it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.core import heap

CHILD = """
import ctypes
from edgeproxy.core import heap

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


libc.mallinfo2.restype = Info


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096


def is_apart(size):
    before = libc.mallinfo2().hblks
    block = libc.malloc(size)
    after = libc.mallinfo2().hblks
    libc.free(block)
    return after > before


def touched(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block
"""

needs_glibc = pytest.mark.skipif(
    heap._glibc() is None or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="the C library is no glibc, or one older than 2.33",
)


def said_by(program: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
    )
    return done.stdout.split()


LEARNS = """
libc.free(libc.malloc(30 << 20))
print(is_apart(5 << 20), is_apart(1 << 20))
"""


@needs_glibc
def test_large_blocks_stay_the_systems_however_many_came_and_went() -> None:
    assert said_by(LEARNS) == ["False", "False"]  # what glibc does by itself
    assert said_by("heap.keep_large_apart()" + LEARNS) == ["True", "False"]
    assert said_by("import edgeproxy.llama" + LEARNS) == ["True", "False"]


@needs_glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "1048576"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576"),
    ],
)
def test_what_a_person_has_set_stays(name: str, value: str) -> None:
    assert said_by("heap.keep_large_apart()" + LEARNS, **{name: value}) == ["True", "True"]


@needs_glibc
def test_what_is_free_between_other_blocks_goes_back() -> None:
    program = """
blocks = [touched(100_000) for _ in range(640)]
for n, block in enumerate(blocks):
    if n % 20:
        libc.free(block)
before = resident()
heap.give_back()
print(before - resident() > 50_000_000)
"""
    assert said_by(program) == ["True"]


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without what is asked of it, as those of macOS and musl."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Other())
    heap.keep_large_apart()
    heap.give_back()
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(ctypes, "CDLL", None)  # it is not asked for
    heap.keep_large_apart()
    heap.give_back()
