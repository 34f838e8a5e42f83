"""The job object of Windows, over a kernel32 that notes what it is asked."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from edgeproxy.worker.windows_job import Job, holding


class Kernel:
    """Says yes, but to what `refuses` names; `asked` is what it was asked."""

    def __init__(self, refuses: str = "") -> None:
        self.asked: list[Any] = []
        self._refuses = refuses

    def CreateJobObjectW(self, *_: object) -> int:  # noqa: N802 - Windows' name
        self.asked.append("create")
        return 0 if self._refuses == "create" else 77

    def SetInformationJobObject(self, job: int, kind: int, limits: Any, size: int) -> int:  # noqa: N802
        assert size == ctypes.sizeof(limits._obj)
        self.asked.append(("limit", job, kind, limits._obj.Basic.LimitFlags))
        return int(self._refuses != "limit")

    def AssignProcessToJobObject(self, job: int, process: int) -> int:  # noqa: N802
        self.asked.append(("assign", job, process))
        return int(self._refuses != "assign")

    def CloseHandle(self, job: int) -> int:  # noqa: N802
        self.asked.append(("close", job))
        return 1


class Process:
    _handle = 5


def test_a_process_is_put_into_a_job_that_ends_it() -> None:
    kernel = Kernel()
    job = holding(Process(), kernel)  # type: ignore[arg-type]
    assert kernel.asked == ["create", ("limit", 77, 9, 0x2000), ("assign", 77, 5)]
    assert job is not None
    job.close()
    job.close()
    assert kernel.asked[3:] == [("close", 77)]


@pytest.mark.parametrize("refuses", ["create", "limit", "assign"])
def test_where_windows_refuses_nothing_is_left_open(refuses: str) -> None:
    kernel = Kernel(refuses)
    assert holding(Process(), kernel) is None  # type: ignore[arg-type]
    assert ("close", 77) in kernel.asked or refuses == "create"


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="sizes of 64 bits")
def test_the_limits_have_the_size_that_windows_expects() -> None:
    sizes: list[int] = []

    class Measuring(Kernel):
        def SetInformationJobObject(self, job: int, kind: int, limits: Any, size: int) -> int:  # noqa: N802
            sizes.append(size)
            return 1

    Job(Measuring()).close()
    assert sizes == [144]
