"""How many processors' time a container or another control group allows: the least counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.core.control_groups import cpu_quota


class Machine:
    """The files of a machine whose process is in the groups that `lines` name."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.proc, self.mounted = folder / "proc", folder / "cgroup"
        self.write(self.proc / "self/cgroup", "".join(f"{line}\n" for line in lines))

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def limit(self, group: str, quota: str, period: str, version: int) -> None:
        if version == 2:
            self.write(self.mounted / group / "cpu.max", f"{quota} {period}\n")
        else:
            self.write(self.mounted / group / "cpu.cfs_quota_us", f"{quota}\n")
            self.write(self.mounted / group / "cpu.cfs_period_us", f"{period}\n")

    @property
    def quota(self) -> float | None:
        return cpu_quota(self.proc, self.mounted)


def test_a_container_of_the_second_version(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/")
    machine.limit("", "150000", "100000", version=2)
    assert machine.quota == 1.5


def test_the_least_of_the_own_group_and_all_above(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user/app/worker")
    machine.limit("user", "200000", "50000", version=2)
    machine.limit("user/app", "30000", "10000", version=2)
    machine.limit("user/app/worker", "max", "100000", version=2)
    assert machine.quota == 3.0
    machine.limit("user", "20000", "10000", version=2)
    assert machine.quota == 2.0


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
def test_the_first_version_also_where_the_path_is_the_hosts(tmp_path: Path, mounted: str) -> None:
    machine = Machine(tmp_path, "7:memory:/docker/0123", "3:cpu,cpuacct:/docker/0123", "0::/x")
    machine.limit(mounted, "400000", "100000", version=1)
    assert machine.quota == 4.0


def test_another_groups_limit_is_not_ours(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/mine", "3:cpuset:/mine")
    machine.limit("other", "100000", "100000", version=2)
    machine.limit("cpuset/mine", "100000", "100000", version=1)
    assert machine.quota is None


@pytest.mark.parametrize(
    ("quota", "period", "version"),
    [
        ("max", "100000", 2),
        ("-1", "100000", 1),
        ("0", "100000", 1),
        ("100000", "0", 2),
        ("", "", 2),
        ("nonsense", "1", 2),
    ],
)
def test_no_limit_is_none(tmp_path: Path, quota: str, period: str, version: int) -> None:
    machine = Machine(tmp_path, "0::/" if version == 2 else "3:cpu:/")
    machine.limit("" if version == 2 else "cpu", quota, period, version)
    assert machine.quota is None


def test_where_there_are_no_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path) is None
