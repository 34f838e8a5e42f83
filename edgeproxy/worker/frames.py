"""Messages over a pipe: four bytes with the length, the highest first, and a text in JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Protocol

VERSION = 1
"""Of all that host and worker say to each other; both must have the same one."""

LONGEST = 1 << 28
"""Bytes of one message. Whoever says more is not a worker."""

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 16


class NoMessageError(Exception):
    """What came over the pipe is no message."""


class Raw(Protocol):
    """An unbuffered file."""

    def read(self, size: int, /) -> bytes | None: ...  # noqa: D102 - as io.RawIOBase's

    def write(self, data: Any, /) -> int | None: ...  # noqa: D102 - as io.RawIOBase's


def packed(message: Any) -> bytes:
    """A message as it goes over the pipe. Raises `ValueError` for one that is too long."""
    text = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(text) > LONGEST:
        raise ValueError(f"a message of {len(text):,} bytes is too long for a worker")
    return _LENGTH.pack(len(text)) + text


def read(file: Raw) -> Iterator[Any]:
    """The messages from `file`, to its end. Raises `NoMessageError`, and `OSError` as `file`."""
    buffer = bytearray()
    while chunk := file.read(_CHUNK):
        buffer += chunk
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > LONGEST:
                raise NoMessageError(f"a message of {length:,} bytes is announced")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            yield _message(bytes(buffer[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
    if buffer:
        raise NoMessageError("the last message is cut short")


def write(file: Raw, data: bytes) -> None:
    """Write all of `data`. Raises `OSError` as `file` does."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _message(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoMessageError(f"what came is not JSON ({error})") from None
