"""How much memory is free: the machine's, a container's, a shell's; the least of them counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeproxy.core import memory_free as memory
from edgeproxy.core.memory_free import free_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a machine with 8 GB free, in no group."""
    write(tmp_path / "proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
    write(tmp_path / "proc/self/status", "VmSize: 100 kB\nVmData: 50 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "MOUNTED", tmp_path / "cgroup")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(folder: Path, limit: str, used: int, cached: int, version: int) -> None:
    names = ("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")
    write(folder / f"memory.{names[0]}", f"{limit}\n")
    write(folder / f"memory.{names[1]}", f"{used}\n")
    prefix = "total_" if version == 1 else ""
    write(folder / "memory.stat", f"{prefix}active_file {cached}\n{prefix}inactive_file {cached}\n")


def test_without_limits_the_machine_counts(linux: Path) -> None:
    free = free_memory()
    assert free is not None
    assert free.bytes == 8_000_000 * 1024
    assert free.limit == "this machine has free"


def test_a_container_counts_without_its_cached_files(linux: Path) -> None:
    write(linux / "proc/self/cgroup", "0::/\n")
    group(linux / "cgroup", "1000000", 600_000, 50_000, version=2)
    free = free_memory()
    assert free is not None
    assert free.bytes == 500_000
    assert "container" in free.limit


def test_a_group_above_counts_too(linux: Path) -> None:
    write(linux / "proc/self/cgroup", "0::/user/app\n")
    group(linux / "cgroup/user", "1000", 100, 0, version=2)
    group(linux / "cgroup/user/app", "max", 50, 0, version=2)
    free = free_memory()
    assert free is not None
    assert free.bytes == 900


def test_the_first_version_of_groups_is_read_also_where_the_path_is_the_hosts(linux: Path) -> None:
    write(linux / "proc/self/cgroup", "3:cpu:/x\n4:memory:/docker/0123\n0::/\n")
    group(linux / "cgroup/memory", "2000", 500, 100, version=1)
    free = free_memory()
    assert free is not None
    assert free.bytes == 1700


def test_no_limit_is_none(linux: Path) -> None:
    write(linux / "proc/self/cgroup", "4:memory:/\n")
    group(linux / "cgroup/memory", "9223372036854771712", 500, 0, version=1)
    free = free_memory()
    assert free is not None
    assert free.limit == "this machine has free"


def test_a_full_group_leaves_nothing(linux: Path) -> None:
    write(linux / "proc/self/cgroup", "0::/\n")
    group(linux / "cgroup", "1000", 1500, 0, version=2)
    free = free_memory()
    assert free is not None
    assert free.bytes == 0


def test_where_nothing_is_known_nothing_is_said(linux: Path) -> None:
    (linux / "proc/meminfo").unlink()
    assert free_memory() is None


def test_elsewhere_a_library_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    class Psutil:
        @staticmethod
        def virtual_memory() -> object:
            return type("svmem", (), {"available": 123})

    monkeypatch.setitem(sys.modules, "psutil", Psutil)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert free_memory() == (123, "this machine has free")
