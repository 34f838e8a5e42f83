"""How much memory this process has held at most, and how much more it may take.

May touch: /proc and /sys/fs/cgroup, read-only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgeproxy.core.control_groups import MOUNTED, PROC, group_folders, read_text


class Free(NamedTuple):
    """`bytes` that can still be taken, and in words what sets that limit."""

    bytes: int
    limit: str


def peak_memory(process: int | None = None) -> int | None:
    """The most bytes that this process has held at once, or None where the system does not tell.

    Of another process, given by its id, only Linux tells.
    """
    # Linux's `getrusage` begins with what the parent held when it started this process.
    peak = _kilobytes(PROC / f"{process or 'self'}/status").get("VmHWM")
    if peak is not None or process is not None or sys.platform == "win32":
        return peak
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def free_memory() -> Free | None:
    """What this process can still take without swapping, or None where the system does not tell.

    On Linux that is the least of what the machine has, the control groups that this process is in
    (a container's limit is one), and `ulimit -v` and `-d`.
    """
    if sys.platform != "linux":
        return _free_elsewhere()
    return min([*_machine(PROC), *_groups(PROC, MOUNTED), *_limits(PROC)], default=None)


def _free_elsewhere() -> Free | None:
    try:
        import psutil
    except ImportError:
        return None
    return Free(int(psutil.virtual_memory().available), "this machine has free")


def _machine(proc: Path) -> Iterator[Free]:
    available = _kilobytes(proc / "meminfo").get("MemAvailable")
    if available is not None:
        yield Free(available, "this machine has free")


def _groups(proc: Path, mounted: Path) -> Iterator[Free]:
    """What each memory limit leaves of the groups that this process is in, and of those above."""
    for folder, version in group_folders("memory", proc, mounted):
        if version == 1:
            yield from _group(folder, ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_")
        else:
            yield from _group(folder, ("memory.max", "memory.high"), "memory.current", "")


def _group(folder: Path, limits: tuple[str, ...], usage: str, prefix: str) -> Iterator[Free]:
    limit = min((n for name in limits if (n := _number(folder / name)) is not None), default=None)
    used = _number(folder / usage)
    if limit is None or used is None or limit >= 1 << 60:
        return
    stat = dict(line.partition(" ")[::2] for line in read_text(folder / "memory.stat").splitlines())
    # Pages of files are given up when memory is short.
    cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    yield Free(max(0, limit - used + cached), "the limit of this container or control group leaves")


def _limits(proc: Path) -> Iterator[Free]:
    import resource

    held = _kilobytes(proc / "self/status")
    for kind, name, flag in (
        (resource.RLIMIT_AS, "VmSize", "-v"),
        (resource.RLIMIT_DATA, "VmData", "-d"),
    ):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and name in held:
            yield Free(max(0, limit - held[name]), f"the limit that `ulimit {flag}` set leaves")


def _kilobytes(path: Path) -> dict[str, int]:
    """The sizes in a file of lines like `VmHWM:  123 kB`, in bytes."""
    found = {}
    for line in read_text(path).splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else None
