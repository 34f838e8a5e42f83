"""Whether whoever started this process is still there.

May touch: standard input, which is read where it is a pipe or a socket; on Windows kernel32.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.25

_SYNCHRONIZE = 0x00100000
_WAIT_TIMEOUT = 0x102
_READ_BYTES = 4096


def when_parent_ends(call: Callable[[], object], is_there: Callable[[], bool]) -> None:
    """Call this, once or twice, in a thread, when the parent of this process has ended.

    `is_there` is what `looks_for_parent` gave. So it also does when standard input ends, where that
    is a pipe or a socket: it ends with the parent, be that only because the parent closes it. What
    comes there is read and ignored.
    """

    def look() -> None:
        while is_there():
            time.sleep(LOOK_SECONDS)
        call()

    def read() -> None:
        read_to_end(0)
        call()

    threading.Thread(target=look, name="edgeproxy parent", daemon=True).start()
    if is_pipe(0):
        threading.Thread(target=read, name="edgeproxy standard input", daemon=True).start()


def read_to_end(descriptor: int) -> None:
    """Read what comes from a descriptor, and return at its end."""
    with contextlib.suppress(OSError):
        if sys.platform != "win32":
            os.set_blocking(descriptor, True)  # else nothing to read yet would be taken for the end
        while os.read(descriptor, _READ_BYTES):
            pass


def is_pipe(descriptor: int) -> bool:
    """Whether a descriptor is a pipe or a socket, at whose other end somebody may be."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def looks_for_parent() -> Callable[[], bool]:
    """What tells whether the parent that there is now is still there.

    Call it early: a parent that has ended before is no longer known.
    """
    parent = os.getppid()
    if sys.platform != "win32":
        return lambda: os.getppid() == parent
    import ctypes

    kernel = ctypes.WinDLL("kernel32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.WaitForSingleObject.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, parent)
    return lambda: bool(handle) and kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT
