"""The control groups that this process is in, by which a container limits it. Linux only.

May touch: /proc and /sys/fs/cgroup, read-only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, MOUNTED = Path("/proc"), Path("/sys/fs/cgroup")


def group_folders(
    controller: str, proc: Path = PROC, mounted: Path = MOUNTED
) -> Iterator[tuple[Path, int]]:
    """The folders of this process's control groups and those above, with the version, 1 or 2."""
    for line in read_text(proc / "self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            version = 1
            # It lies under its own name, or that of several which are mounted together.
            roots = dict.fromkeys((mounted / controller, mounted / controllers))
        elif number == "0":
            roots, version = dict.fromkeys((mounted,)), 2
        else:
            continue
        for root in roots:
            # Inside a container its own group is the root that is mounted, whatever the path says.
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield folder, version


def cpu_quota(proc: Path = PROC, mounted: Path = MOUNTED) -> float | None:
    """How many processors' time the control groups allow, or None where none limits it."""
    found = []
    for folder, version in group_folders("cpu", proc, mounted):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version == 1 else ("cpu.max",)
        words = " ".join(read_text(folder / name) for name in names).split()
        # No limit is "max", or -1, or no such file at the root.
        if len(words) == 2 and all(word.isdecimal() for word in words):
            quota, period = map(int, words)
            if quota and period:
                found.append(quota / period)
    return min(found, default=None)


def read_text(path: Path) -> str:
    """What a file of the system's says; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
