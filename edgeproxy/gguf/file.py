"""One open descriptor of a model file, so that the file that was checked is the file loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from edgeproxy import files
from edgeproxy.errors import ModelFileError
from edgeproxy.gguf.header import AGAIN, Header
from edgeproxy.gguf.keys import check_keys
from edgeproxy.gguf.model import check_model
from edgeproxy.gguf.parse import identity, parse
from edgeproxy.gguf.vocab import check_vocabulary

_REMEDIES = {"a directory": "name the .gguf file in it"}
_MIB = 1 << 20


class ModelFile:
    """A validated model file, open for reading until `close` or the end of a `with` block."""

    header: Header

    def __init__(self, file: FileIO, header: Header) -> None:
        self._file = file
        self.header = header

    def fileno(self) -> int:
        """The descriptor; whoever moves its position must not mind where it stands."""
        return self._file.fileno()

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises `ModelFileError` where the file ends before."""
        self._file.seek(offset)
        parts = []
        while size:
            parts.append(self._file.read(size))
            size -= len(parts[-1])
            if not parts[-1]:
                raise self.header.error("it became shorter while it was read")
        return b"".join(parts)

    def check_unchanged(self) -> None:
        """Check that the open file and the one at its path are still the file that was validated.

        Call it after something else has read the path. Raises `ModelFileError` otherwise. A write
        that keeps the size and sets the modification time back goes unnoticed.
        """
        try:
            now = identity(os.fstat(self.fileno())), identity(self.header.path.stat())
        except OSError as error:
            raise self.header.error(f"it has been moved away ({error.strerror})") from None
        if now != (self.header.identity, self.header.identity):
            raise self.header.error(
                "it was replaced or altered while it was loaded", "load it again"
            )

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_model(
    path: str | os.PathLike[str], *, vocab_only: bool = False, embeds: bool = False
) -> ModelFile:
    """Open the GGUF file at `path` and validate its header.

    With `vocab_only` a file without weights is accepted, and hyper-parameters and tensors are not
    checked against the architecture. With `embeds` it may be an embedding model, which cannot
    write. Raises `ModelFileError` for everything that is not a sound little-endian GGUF file of
    version 2 or 3; reads no tensor data and changes nothing.
    """
    return open_checked(Path(path), lambda file: _check(file.header, vocab_only, embeds))


def open_checked(path: Path, check: Callable[[ModelFile], None]) -> ModelFile:
    """Open the GGUF file at `path`, of whatever kind, if its header is sound and `check` agrees.

    Raises `ModelFileError`, and what `check` raises.
    """
    file = _open_regular(path)
    try:
        opened = ModelFile(file, parse(file, path))
        check(opened)
        return opened
    except OSError as error:
        file.close()
        raise ModelFileError(path, f"it cannot be read ({error.strerror}); {AGAIN}") from None
    except BaseException:
        file.close()
        raise


def read(path: str | os.PathLike[str], *, vocab_only: bool = False) -> Header:
    """Return the validated header of the GGUF file at `path`; see `open_model`."""
    with open_model(path, vocab_only=vocab_only) as file:
        return file.header


def read_any(path: str | os.PathLike[str]) -> Header:
    """The header of the GGUF file at `path`: validated for a model; of an adapter, well formed.

    Raises `ModelFileError`.
    """

    def check(file: ModelFile) -> None:
        if file.header.text("general.type", "model") != "adapter":
            _check(file.header)

    with open_checked(Path(path), check) as file:
        return file.header


def read_inside(file: FileIO, path: Path, size: int, *, vocab_only: bool = False) -> Header:
    """The validated header of a model of `size` bytes, at the position at which `file` stands.

    `path` is what errors call it. `vocab_only` as for `open_model`. Raises `ModelFileError`, and
    `OSError`.
    """
    header = parse(file, path, size)
    _check(header, vocab_only)
    return header


def _check(header: Header, vocab_only: bool = False, embeds: bool = False) -> None:
    check_keys(header)
    count = check_vocabulary(header, embeds=embeds)
    if not vocab_only:
        check_model(header, count, embeds=embeds)


def fingerprint(header: Header) -> str:
    """A name for the contents of the file that `header` was read from, to bind other files to it.

    The sha256, in hexadecimal digits, of its size, its modification time, its header, and the first
    and the last MiB of its weights: milliseconds also for large files. It tells apart models,
    quantisations and tunings, and a file that was written again; not one that somebody altered in
    its middle and set the time back. Raises `ModelFileError` where the file is no longer the same.
    """
    with _open_regular(header.path) as file:
        if identity(os.fstat(file.fileno())) != header.identity:
            raise header.error("it was replaced or altered since it was loaded", "load it again")
        _, _, size, modified = header.identity
        digest = hashlib.sha256(f"{size} {modified} ".encode())
        try:
            digest.update(file.read(header.data_offset + _MIB))
            file.seek(max(0, size - _MIB))
            digest.update(file.read(_MIB))
        except OSError as error:
            raise header.error(f"it cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def _open_regular(path: Path) -> FileIO:
    try:
        file = files.open_regular(path)
    except FileNotFoundError:
        raise ModelFileError(path, "there is no such file; check the path") from None
    except PermissionError:
        raise ModelFileError(path, "it may not be read; check its permissions") from None
    except files.NotRegularError as error:
        remedy = _REMEDIES.get(error.kind, "use a regular file")
        raise ModelFileError(path, f"it is {error.kind}; {remedy}") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"it cannot be opened ({error}); check the path") from None
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise ModelFileError(path, f"it is empty; {AGAIN}")
    return file
