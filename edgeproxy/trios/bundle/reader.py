"""A bundle, read without trust: nothing in it is taken for true before its hash was compared.

May touch: the bundle, read only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from edgeproxy.errors import BundleError, UsageError
from edgeproxy.files import CHUNK, NotRegularError, open_regular, reason
from edgeproxy.trios.bundle import archive
from edgeproxy.trios.bundle.manifest import (
    MANIFEST,
    MAX_MANIFEST,
    MAX_SIGNATURE,
    SIGNATURE,
    File,
    Manifest,
    parse,
)
from edgeproxy.trios.bundle.sign import PublicKey

_OTHERS = {b"\x1f\x8b": "a gzip file", b"PK": "a zip file", b"BZh": "a bzip2 file"}
_OTHERS |= {b"\xfd7zXZ": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"GGUF": "a model file"}


class Bundle:
    """An open bundle, whose manifest has been read. Close it, or use it as a context manager."""

    manifest: Manifest
    is_signed: bool
    """Whether there is a signature; it is right where a key was given."""

    def __init__(self, path: Path, key: PublicKey | None = None) -> None:
        """Open the bundle at `path`; check its signature by `key`, its headers, and its size.

        Raises `UsageError` where there is no file, `BundleError` for one that is not a bundle, or
        not from the owner of `key`.
        """
        self.path = path
        self._key = key
        self._file = _open(path)
        try:
            with self._telling():
                self._read_head()
        except BaseException:
            self._file.close()
            raise

    def blocks(self, file: File) -> Iterator[bytes]:
        """The bytes of `file` in order. They are to be trusted once the iterator has ended.

        Raises `BundleError` before it ends where they are not what the manifest says.
        """
        with self._telling():
            self._check_header(file)
            digest, left = hashlib.sha256(), file.size
            while left:
                block = self._exactly(min(CHUNK, left))
                digest.update(block)
                left -= len(block)
                yield block
            self._check_padding(file.path, file.size)
            if digest.hexdigest() != file.sha256:
                raise BundleError(
                    f"{file.path} is damaged: its sha256 is not the one in the manifest; copy the "
                    "bundle again"
                )

    def read(self, file: File) -> bytes:
        """The bytes of a small `file`, compared with its hash. Raises `BundleError`."""
        return b"".join(self.blocks(file))

    @contextlib.contextmanager
    def inside(self, file: File) -> Iterator[FileIO]:
        """The bundle as an open file that stands where the bytes of `file` begin."""
        with self._telling():
            self._check_header(file)
            yield self._file

    def _read_head(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        content, signature, at = self._read_manifest()
        self.is_signed = signature is not None
        if self._key is not None:
            self._key.check(content, signature)
        self.manifest = parse(content)
        self._offsets: dict[str, int] = {}
        for file in self.manifest.files:
            self._offsets[file.path] = at
            at += archive.space(file.size)
        _check_length(size, at + len(archive.END))
        self._file.seek(at)
        if self._exactly(len(archive.END)) != archive.END:
            raise BundleError("its end is damaged, or it holds more than its manifest lists")
        # All of them now, before gigabytes are hashed.
        for file in self.manifest.files:
            self._check_header(file)

    def _read_manifest(self) -> tuple[bytes, bytes | None, int]:
        """The manifest, its signature where there is one, and where the other files begin."""
        first = self._file.read(archive.BLOCK)
        length = archive.size_of(first)
        if not 0 < length <= MAX_MANIFEST or first != archive.header(MANIFEST, length):
            raise BundleError(_what_else(first))
        content = self._exactly(length)
        self._check_padding(MANIFEST, length)
        at = archive.space(length)
        second = self._exactly(archive.BLOCK)
        length = archive.size_of(second)
        if not 0 < length <= MAX_SIGNATURE or second != archive.header(SIGNATURE, length):
            return content, None, at
        signature = self._exactly(length)
        self._check_padding(SIGNATURE, length)
        return content, signature, at + archive.space(length)

    def _check_header(self, file: File) -> None:
        """Check the block before `file`, and leave the bundle standing behind it."""
        self._file.seek(self._offsets[file.path])
        block = self._exactly(archive.BLOCK)
        if block != archive.header(file.path, file.size):
            raise BundleError(
                f"where its manifest lists {file.path} stands {archive.describe(block)}, not just "
                "that file in the form in which edgeproxy writes it"
            )

    def _check_padding(self, path: str, size: int) -> None:
        if any(self._exactly(archive.padding(size))):
            raise BundleError(f"something is hidden behind {path}")

    def _exactly(self, count: int) -> bytes:
        parts, left = [], count
        while left:
            part = self._file.read(left)
            if not part:
                raise BundleError("it is cut short; copy the bundle again")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except BundleError as error:
            raise self.error(error) from None
        except OSError as error:
            raise self.error(f"it cannot be read ({error.strerror})") from None

    def error(self, what: object) -> BundleError:
        """A `BundleError` about this bundle, to raise."""
        return BundleError(f"{self.path}: {what}")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> FileIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; check the path") from None
    except NotRegularError as error:
        raise UsageError(
            f"{path}: {error.strerror}; name the file that `bundle create` made"
        ) from None
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        raise UsageError(f"{path}: it cannot be opened ({reason(error)})") from None


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise BundleError(
            f"it is cut short: {found:,} bytes of {expected:,}; copy the bundle again"
        )
    if found > expected:
        raise BundleError(f"it has {found - expected:,} bytes more than its manifest accounts for")


def _what_else(first: bytes) -> str:
    if not first:
        return "it is empty"
    for magic, what in _OTHERS.items():
        if first.startswith(magic):
            return f"this is {what}, not a bundle; a bundle is what `edgeproxy bundle create` made"
    return "this is not a bundle: it does not begin as `edgeproxy bundle create` begins one"
