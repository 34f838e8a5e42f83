"""An open file as llama.cpp reads one, so that what was validated is what it loads.

May touch: the file, read-only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

from edgeproxy.errors import EngineError
from edgeproxy.gguf import ModelFile

HAS_STREAMS = os.name == "posix"
"""Windows has no C library in common with llama.cpp to pass a stream through: there a path is
opened again, and `ModelFile.check_unchanged` finds a replacement afterwards."""


@contextlib.contextmanager
def stream_of(file: ModelFile) -> Iterator[Any]:
    """C's stream over the descriptor that was validated, at its start, where `HAS_STREAMS`."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fdopen.restype = ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    descriptor = os.dup(file.fileno())
    os.lseek(descriptor, 0, os.SEEK_SET)
    stream = libc.fdopen(descriptor, b"rb")
    if not stream:
        os.close(descriptor)
        raise EngineError(f"{file.header.path}: {os.strerror(ctypes.get_errno())}")
    try:
        yield stream
    finally:
        libc.fclose(stream)
