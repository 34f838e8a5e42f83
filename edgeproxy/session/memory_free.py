"""How much memory this process has held at most, and how much more it may take.

May touch: /proc and /sys/fs/cgroup, read-only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


class Free(NamedTuple):
    """`bytes` that can still be taken, and in words what sets that limit."""

    bytes: int
    limit: str


def peak_memory(process: int | None = None) -> int | None:
    """The most bytes that this process has held at once, or None where the system does not tell.

    Of another process, given by its id, only Linux tells.
    """
    # Linux's `getrusage` begins with what the parent held when it started this process.
    peak = _kilobytes(_PROC / f"{process or 'self'}/status").get("VmHWM")
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
    return min([*_machine(_PROC), *_groups(_PROC, _CGROUP), *_limits(_PROC)], default=None)


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


def group_folders(
    controller: str, proc: Path = _PROC, mounted: Path = _CGROUP
) -> Iterator[tuple[Path, int]]:
    """The folders of this process's control groups and those above, with the version, 1 or 2."""
    for line in _read(proc / "self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            root, version = mounted / controller, 1
        elif number == "0":
            root, version = mounted, 2
        else:
            continue
        # Inside a container its own group is the root that is mounted, whatever the path says.
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield folder, version


def _group(folder: Path, limits: tuple[str, ...], usage: str, prefix: str) -> Iterator[Free]:
    limit = min((n for name in limits if (n := _number(folder / name)) is not None), default=None)
    used = _number(folder / usage)
    if limit is None or used is None or limit >= 1 << 60:
        return
    stat = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
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
    for line in _read(path).splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
