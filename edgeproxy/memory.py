"""How much memory a trio needs, by its parts, and the most that this process has held.

May touch: /proc/*/status, read-only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

REST = 150_000_000
"""Bytes that Python, the libraries, the vocabularies and llama.cpp's buffers may take besides."""

BAR = 1.05
"""A process should hold at most so many times what its trio needs."""


@dataclass(frozen=True)
class Memory:
    """What a trio needs, in bytes: each file's `weights` once, and its contexts' `kv` caches."""

    weights: int
    kv: int

    @property
    def needed(self) -> int:
        """Both, and `REST`."""
        return self.weights + self.kv + REST


def peak_memory(process: int | None = None) -> int | None:
    """The most bytes that this process has held at once, or None where the system does not tell.

    Of another process, given by its id, only Linux tells.
    """
    try:
        # Linux's `getrusage` begins with what the parent held when it started this process.
        status = Path(f"/proc/{process or 'self'}/status").read_text(
            encoding="utf-8", errors="replace"
        )
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if process is not None or sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
