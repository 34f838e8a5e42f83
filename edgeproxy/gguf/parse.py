"""Bytes to a `Header`: every count, length, type and offset is checked before it is used."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from struct import Struct, unpack
from types import MappingProxyType
from typing import Any, NoReturn

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf.header import AGAIN, CONVERT, TENSOR_TYPES, Header, Tensor

MAX_HEADER = 64 << 20
MAX_KEYS = 4096
MAX_KEY = 256
MAX_TEXT = 16 << 20
MAX_ITEMS = 2 << 20
MAX_TENSORS = 1 << 16
MAX_NAME = 63
MAX_DIMENSIONS = 4
_CHUNK = 1 << 20

_STRING, _ARRAY, _BOOL = 8, 9, 7
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {number: Struct("<" + code) for number, code in _CODES.items()}
_U32, _U64, _COUNTS = Struct("<I"), Struct("<Q"), Struct("<QQ")
_SHAPES = [Struct(f"<{n}Q") for n in range(MAX_DIMENSIONS + 1)]
_TYPE_AND_OFFSET = Struct("<IQ")
_IS_NAME = re.compile(r"[!-~]+").fullmatch

Fail = Callable[..., NoReturn]


def parse(file: FileIO, path: Path, size: int | None = None) -> Header:
    """Read the header of `file`, positioned at its start, and check it against the file's size.

    `size` is the model's, where it lies inside a larger file. Raises `ModelFileError`. Reads no
    tensor data but what shares the last chunk with the header; uses memory in proportion to the
    header, which is at most 64 MiB.
    """

    def fail(what: str, remedy: str = AGAIN) -> NoReturn:
        raise ModelFileError(path, f"{what}; {remedy}")

    status = os.fstat(file.fileno())
    size = status.st_size if size is None else size
    reader = _Reader(file, size, fail)
    version = _read_version(reader, fail)
    tensor_count, key_count = reader.unpack(_COUNTS)
    if key_count > MAX_KEYS:
        fail(f"its header declares {key_count} keys, more than {MAX_KEYS}")
    if tensor_count > MAX_TENSORS:
        fail(f"its header declares {tensor_count} tensors, more than {MAX_TENSORS}")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.text("a key", MAX_KEY)
        if not _IS_NAME(key):
            fail(f"its header has the malformed key {key!r}")
        if key in metadata:
            fail(f"its header has the key {key} twice")
        metadata[key] = _read_value(reader, key, fail)
    keys_end = reader.offset
    alignment = _alignment(metadata, fail)
    tensors = _read_tensors(reader, tensor_count, alignment, fail)
    data_offset = _padded(reader.offset, alignment) if tensors else reader.offset
    _check_size(tensors, data_offset, alignment, size, fail)
    return Header(
        path=path,
        version=version,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        data_offset=data_offset,
        file_size=size,
        identity=identity(status),
        keys_end=keys_end,
    )


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file from another one, or from itself after a change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Reader:
    """Takes values from a file in order, a chunk at a time, never past its end or the limits."""

    def __init__(self, file: FileIO, size: int, fail: Fail) -> None:
        self._file, self.size, self._fail = file, size, fail
        self._buffer, self._position, self._start = b"", 0, 0

    @property
    def offset(self) -> int:
        return self._start + self._position

    def need(self, count: int) -> None:
        """Make sure that the next `count` bytes are in the buffer."""
        if self.offset + count > self.size:
            self._fail(f"it ends inside its header, at byte {self.size}")
        if self.offset + count > MAX_HEADER:
            self._fail(f"its header is larger than {MAX_HEADER >> 20} MiB")
        if self._position + count <= len(self._buffer):
            return
        parts, have = [self._buffer[self._position :]], len(self._buffer) - self._position
        while have < count:
            part = self._file.read(max(_CHUNK, count - have))
            if not part:
                self._fail("it became shorter while it was read")
            parts.append(part)
            have += len(part)
        self._start += self._position
        self._buffer, self._position = b"".join(parts), 0

    def take(self, count: int) -> bytes:
        self.need(count)
        end = self._position + count
        data = self._buffer[self._position : end]
        self._position = end
        return data

    def unpack(self, struct: Struct) -> tuple[Any, ...]:
        self.need(struct.size)
        values = struct.unpack_from(self._buffer, self._position)
        self._position += struct.size
        return values

    def text(self, what: str, longest: int) -> str:
        (length,) = self.unpack(_U64)
        if length > longest:
            self._fail(f"{what} in its header is {length} bytes long, more than {longest}")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            self._fail(f"{what} in its header is not valid UTF-8")

    def texts(self, what: str, count: int) -> tuple[str, ...]:
        """`count` strings. A real vocabulary has 300,000: this loop is most of a header's cost."""
        if self.offset + count * _U64.size > self.size:
            self._fail(f"{what} declares {count} items, more than the file can hold")
        found: list[str] = []
        append, length_at = found.append, _U64.unpack_from
        while len(found) < count:
            buffer, position = self._buffer, self._position
            size = len(buffer)
            last = size - _U64.size
            try:
                for _ in range(count - len(found)):
                    if position > last:
                        break
                    (length,) = length_at(buffer, position)
                    start = position + 8
                    end = start + length
                    if end > size:
                        break
                    append(buffer[start:end].decode())
                    position = end
            except UnicodeDecodeError:
                self._fail(f"{what} has a string, number {len(found)}, that is not valid UTF-8")
            self._position = position
            if len(found) < count:
                # The next string straddles two chunks, or lies: `text` refills and checks it.
                append(self.text(what, MAX_TEXT))
        return tuple(found)


def _read_version(reader: _Reader, fail: Fail) -> int:
    # A file too short for the magic is no damaged GGUF file, but none at all.
    magic = reader.take(min(4, reader.size))
    if magic != b"GGUF":
        fail("it is not a GGUF file", "use a file in GGUF format, often named *.gguf")
    version: int = reader.unpack(_U32)[0]
    if version and not version & 0xFFFF:
        fail("it is a big-endian GGUF file", "use the little-endian file of this model")
    if version not in (2, 3):
        fail(f"it has GGUF version {version}, and only 2 and 3 can be read", CONVERT)
    return version


def _read_value(reader: _Reader, key: str, fail: Fail) -> Any:
    (kind,) = reader.unpack(_U32)
    if kind == _STRING:
        return reader.text(key, MAX_TEXT)
    if kind == _ARRAY:
        return _read_array(reader, key, fail)
    if kind not in _SCALARS:
        fail(f"{key} has the unknown type {kind}")
    (value,) = reader.unpack(_SCALARS[kind])
    return _as_bools(key, (value,), fail)[0] if kind == _BOOL else value


def _read_array(reader: _Reader, key: str, fail: Fail) -> tuple[Any, ...]:
    (kind,) = reader.unpack(_U32)
    (count,) = reader.unpack(_U64)
    if count > MAX_ITEMS:
        fail(f"{key} declares {count} items, more than {MAX_ITEMS}")
    if kind == _STRING:
        return reader.texts(key, count)
    if kind == _ARRAY:
        fail(f"{key} is an array of arrays, which no model needs", CONVERT)
    if kind not in _SCALARS:
        fail(f"{key} has items of the unknown type {kind}")
    values = unpack(f"<{count}{_CODES[kind]}", reader.take(count * _SCALARS[kind].size))
    return _as_bools(key, values, fail) if kind == _BOOL else values


def _as_bools(key: str, values: tuple[int, ...], fail: Fail) -> tuple[bool, ...]:
    if max(values, default=0) > 1:
        fail(f"{key} is neither true nor false")
    return tuple(map(bool, values))


def _alignment(metadata: dict[str, Any], fail: Fail) -> int:
    alignment = metadata.get("general.alignment", 32)
    # Below 32 ggml asserts on the address of the weights.
    if alignment not in (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        fail(f"general.alignment is {alignment}, not a power of two from 32 to 65536", CONVERT)
    return int(alignment)


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _read_tensors(reader: _Reader, count: int, alignment: int, fail: Fail) -> tuple[Tensor, ...]:
    """The tensor table. Tensors follow each other without gaps, each padded to the alignment."""
    tensors: dict[str, Tensor] = {}
    expected = 0
    for _ in range(count):
        name = reader.text("a tensor's name", MAX_NAME)
        if not _IS_NAME(name):
            fail(f"its header has a tensor with the malformed name {name!r}")
        if name in tensors:
            fail(f"its header has the tensor {name} twice")
        (dimensions,) = reader.unpack(_U32)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            fail(f"the tensor {name} has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
        shape = reader.unpack(_SHAPES[dimensions])
        number, offset = reader.unpack(_TYPE_AND_OFFSET)
        if number not in TENSOR_TYPES:
            fail(f"the tensor {name} has the unknown type {number}")
        kind = TENSOR_TYPES[number]
        if min(shape) < 1:
            fail(f"the tensor {name} has a dimension of 0")
        if shape[0] % kind.block:
            fail(f"the tensor {name} has rows of {shape[0]}, not of whole {kind.name} blocks")
        size = math.prod(shape) // kind.block * kind.size
        if offset != expected:
            fail(f"the tensor {name} starts at {offset}, not after the previous one at {expected}")
        expected = _padded(offset + size, alignment)
        tensors[name] = Tensor(name, shape, kind, offset, size)
    return tuple(tensors.values())


def _check_size(
    tensors: tuple[Tensor, ...], data_offset: int, alignment: int, size: int, fail: Fail
) -> None:
    end = data_offset + tensors[-1].offset + tensors[-1].size if tensors else data_offset
    if size < end:
        fail(f"it is truncated: {size} of {end} bytes")
    if size > _padded(end, alignment):
        fail(f"it is {size - end} bytes longer than its header declares")
