"""Small disks that become full: a real one where this machine lets us mount it, else as if."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

Usage = namedtuple("Usage", ("total", "used", "free"))


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Make `folder` a disk of `size` bytes, if that can be done here; whether it was."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    is_mounted = (
        sys.platform == "linux"
        and os.geteuid() == 0
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def cannot(what: str) -> NoReturn:
    """Skip a test that this machine does not let us do; Linux lets CI, where it is a failure."""
    if os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(what)
    pytest.skip(what)


@contextlib.contextmanager
def folder_to_lock(folder: Path) -> Iterator[Callable[[], bool]]:
    """Make `folder`; calling what is given makes it read-only, and tells whether that was done.

    Root may write wherever a disk lets it, so that for root the folder is a disk of its own.
    """
    with contextlib.ExitStack() as stack:
        is_root = sys.platform != "win32" and os.geteuid() == 0
        is_mounted = is_root and stack.enter_context(small_disk(folder, 4_000_000))
        folder.mkdir(exist_ok=True)

        def lock() -> bool:
            if is_mounted:
                subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            elif not is_root:
                folder.chmod(0o500)
                stack.callback(folder.chmod, 0o700)
            return not os.access(folder, os.W_OK)

        yield lock


def claim_space(patch: pytest.MonkeyPatch) -> None:
    """Every disk says that it has room, so that it becomes full while it is written to."""
    patch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, 1 << 50))


def fill(patch: pytest.MonkeyPatch, opened: type, size: int) -> None:
    """Let files of the class `opened` hold `size` bytes in all, as on a full disk."""
    left = [size]
    write = opened.write  # type: ignore[attr-defined]

    def fails(self: Any, data: Any) -> Any:
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    patch.setattr(opened, "write", fails)
