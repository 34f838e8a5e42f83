"""An index is removed, with what is beside it.

May touch: the index's files.
"""

from __future__ import annotations

from pathlib import Path

from edgeproxy.documents.database import BESIDE, holding, may_be_index
from edgeproxy.documents.index import file_size
from edgeproxy.documents.named import has_name
from edgeproxy.errors import DocumentError
from edgeproxy.files import reason
from edgeproxy.trios.disk import remove_file


def remove_index(path: Path) -> int:
    """Remove the index at `path`, damaged or not; the bytes that are free then.

    Raises `DocumentError` where somebody writes to it, where it is a file that is no index, and
    where it cannot be removed.
    """
    freed = file_size(path)
    with holding(path):
        _check(path)
        _remove(path, ("", *(end for end in BESIDE if end != ".lock")))
    _remove(path, (".lock",))
    return freed


def _check(path: Path) -> None:
    """Raise `DocumentError` for a file that has nothing of an index, lest it be a person's own."""
    if not may_be_index(path) and not has_name(path):
        raise DocumentError(f"{path}: this is no index of documents; remove it yourself")


def _remove(path: Path, ends: tuple[str, ...]) -> None:
    try:
        for end in ends:
            remove_file(path.with_name(path.name + end))
    except OSError as error:
        raise DocumentError(
            f"{path}: {reason(error)}; check the permissions of its folder"
        ) from None
