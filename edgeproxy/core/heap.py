"""The C library's heap: memory that was freed goes back to the system.

glibc gives large blocks back when they are freed, but takes ever larger ones for small as it sees
them come and go, up to 32 MB. Models' buffers then lie in the heaps of the threads that made them,
and what was freed among them stays with the process. Other C libraries have none of this, and
nothing is done about them here.

May touch: the settings of this process's `malloc`, and the environment variables by which a person
sets them, read only.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

LARGE = 4 << 20
"""Blocks of so many bytes are always the system's: more than rows of logits, which come often."""

_M_MMAP_THRESHOLD = -3  # malloc.h


def keep_large_apart() -> None:
    """Have blocks of `LARGE` bytes and more go back when they are freed, for good.

    Where a person has set that otherwise, it stays as it is.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in tunables:
        return
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Give the system all whole pages that are free, of the heaps of all threads."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> Any:
    """The C library where it is glibc, else None."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
