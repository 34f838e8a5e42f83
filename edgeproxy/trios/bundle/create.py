"""Trios into one file, written as it will be read: nothing is kept besides the file itself.

May touch: the trios' files, read only; the bundle, and a temporary file beside it that becomes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from edgeproxy import __version__
from edgeproxy.errors import BundleError, UsageError
from edgeproxy.files import ByteProgress, blocks, replacing
from edgeproxy.trios.bundle import archive
from edgeproxy.trios.bundle.contents import read_trios
from edgeproxy.trios.bundle.install_text import Wheels, instructions
from edgeproxy.trios.bundle.manifest import INSTALL, MANIFEST, SIGNATURE, Manifest, check
from edgeproxy.trios.bundle.reader import Bundle
from edgeproxy.trios.bundle.sign import SecretKey
from edgeproxy.trios.bundle.sources import Source, gather, text
from edgeproxy.trios.manifest import Recipe
from edgeproxy.units import in_units


def create(
    recipes: Sequence[Recipe],
    target: Path,
    *,
    wheels: Wheels | None = None,
    key: SecretKey | None = None,
    force: bool = False,
    progress: ByteProgress | None = None,
) -> Manifest:
    """Write a bundle of `recipes` to `target`; what it holds.

    Each model is in it once. The tuned models, which are for measuring only, are not. The same
    input makes the same bytes. Raises `UsageError` for a target that cannot be written or is there
    already, `ModelFileError` and `BundleError` for what cannot be carried; nothing is left then.
    """
    check_target(target, force)
    with _telling(target):
        sources = gather(recipes, wheels.paths if wheels else (), progress)
        words = instructions(sorted(recipe.name for recipe in recipes), wheels, key is not None)
        sources.insert(0, text(INSTALL, words.encode("ascii")))
        files = tuple(source.file for source in sources)
        manifest = Manifest(files, __version__, wheels.platform if wheels else "")
        content = check(manifest)
        head = [text(MANIFEST, content)]
        head += [text(SIGNATURE, key.sign(content))] if key else []
        with replacing(target) as file:
            _write(file, target, [*head, *sources], progress)
            with Bundle(Path(file.name)) as made:  # whatever the trios held: it can be read again
                read_trios(made, Path("models"))
            check_target(target, force)  # somebody may have put another one there meanwhile
    return manifest


def check_target(target: Path, force: bool) -> None:
    """Raise `UsageError` where no bundle can be written to `target`."""
    if target.is_dir():
        raise UsageError(f"{target}: this is a directory; name a file in it")
    if os.path.lexists(target) and not target.is_file():
        raise UsageError(f"{target}: this is no regular file, and is left as it is")
    if target.exists() and not force:
        raise UsageError(f"{target} is there already; name another, or give --force to replace it")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: there is no such folder; make it, or name another")


def _write(
    file: BinaryIO, target: Path, sources: Sequence[Source], progress: ByteProgress | None
) -> None:
    done, total = 0, archive.length(source.file.size for source in sources)
    free = shutil.disk_usage(target.parent).free
    if free < total:
        raise BundleError(
            f"{target}: not enough disk space: the bundle takes {in_units(total)}, and "
            f"{in_units(free)} are free; free some, or name a file on another disk"
        )
    for source in sources:
        path, size = source.file.path, source.file.size
        file.write(archive.header(path, size))
        digest, count = hashlib.sha256(), 0
        content = source.content
        for block in (content,) if isinstance(content, bytes) else blocks(content):
            digest.update(block)
            count += file.write(block)
            if progress:
                progress(f"writing {path}", done + count, total)
        if (count, digest.hexdigest()) != (size, source.file.sha256):
            raise BundleError(
                f"{content!s}: its sha256 is {digest.hexdigest()} instead of "
                f"{source.file.sha256}; it is damaged, or changed meanwhile"
            )
        done += size
        file.write(bytes(archive.padding(size)))
    file.write(archive.END)
    file.flush()


@contextlib.contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Errors of the disk as a sentence that names the file."""
    try:
        yield
    except OSError as error:
        where, what = error.filename or target, error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the disk became full; free some space, or name a file on another disk"
        if error.errno == errno.EFBIG:
            what = "this disk cannot hold so large a file; FAT32 ends at 4 GiB, exFAT does not"
        raise BundleError(f"{where}: {what}") from None
