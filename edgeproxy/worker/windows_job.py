"""On Windows: a job object, which ends a process when whoever holds the job ends.

https://learn.microsoft.com/windows/win32/procthread/job-objects

May touch: Windows' kernel32, a handle of it.
"""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any

_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_KILL_ON_JOB_CLOSE = 0x2000


class _Basic(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _Extended(ctypes.Structure):
    _fields_ = (
        ("Basic", _Basic),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """A job object that ends what is in it when its last handle closes, as at this process's end.

    `kernel` is kernel32. Raises `OSError` where Windows makes none.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._handle = kernel.CreateJobObjectW(None, None)
        if not self._handle:
            raise OSError("Windows makes no job object")
        limits = _Extended()
        limits.Basic.LimitFlags = _KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        if not kernel.SetInformationJobObject(
            self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), size
        ):
            self.close()
            raise OSError("Windows refuses the job object's limits")

    def add(self, process_handle: int) -> None:
        """Put a process in it. Raises `OSError`, as where it is in a job that allows no other."""
        if not self._kernel.AssignProcessToJobObject(self._handle, process_handle):
            raise OSError("Windows puts the process into no job object")

    def close(self) -> None:
        """Close the handle: what is in the job ends. A second call does nothing."""
        handle, self._handle = self._handle, None
        if handle:
            self._kernel.CloseHandle(handle)


def holding(process: subprocess.Popen[bytes], kernel: Any = None) -> Job | None:
    """A job with this process in it; None where Windows refuses, and a pipe has to do."""
    kernel = kernel or _kernel32()
    try:
        job = Job(kernel)
    except OSError:
        return None
    try:
        job.add(int(process._handle))  # type: ignore[attr-defined]
    except OSError:
        job.close()
        return None
    return job


def _kernel32() -> Any:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    for name, result, arguments in (
        ("CreateJobObjectW", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_wchar_p)),
        (
            "SetInformationJobObject",
            ctypes.c_int,
            (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32),
        ),
        ("AssignProcessToJobObject", ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p)),
        ("CloseHandle", ctypes.c_int, (ctypes.c_void_p,)),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel
