"""Where indexes live: by a name in the home folder, or at a path.

May touch: the folder of named indexes, read only.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgeproxy.errors import DocumentError, UsageError
from edgeproxy.files import reason
from edgeproxy.trios.disk import regular_size
from edgeproxy.trios.home import home
from edgeproxy.trios.store.naming import is_trio

FOLDER = "documents"
"""The folder in the home folder with the indexes that have a name."""

SUFFIX = ".sqlite"


def is_path(name: str) -> bool:
    """Whether `name` is the path of an index: it has a separator, or ends in .sqlite."""
    separators = {os.sep, os.altsep or os.sep, "/"}
    return name.endswith(SUFFIX) or any(separator in name for separator in separators)


def path_of(name: str) -> Path:
    """Where the index called `name` is, or would be; a path is itself.

    Raises `UsageError` for what can be no name, and `DocumentError` where there is no home folder.
    """
    if is_path(name):
        return Path(name).absolute()
    if not is_trio(name):
        raise UsageError(
            f"{name!r} cannot be the name of an index: letters, digits, '_', '-', '.', at most 64, "
            f"and no device's name; a path has a {os.sep} or ends in {SUFFIX}"
        )
    return _folder() / f"{name}{SUFFIX}"


def find(name: str) -> Path:
    """Where the index called `name`, or at that path, is. Raises `DocumentError` if nowhere."""
    path = path_of(name)
    try:
        size = regular_size(path)
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path}: {reason(error)}; check the path") from None
    if size is None:
        known = ", ".join(names()) or "none"
        raise DocumentError(
            f"there is no index {name!r} (there are: {known}); "
            f"make it: edgeproxy index FOLDER -o {name}"
        )
    return path


def has_name(path: Path) -> bool:
    """Whether the file at `path` lies where indexes with a name do, and so can be nothing else."""
    root = home()
    return root is not None and path.parent == root.absolute() / FOLDER


def names() -> list[str]:
    """The names of the indexes in the home folder. Raises `DocumentError`."""
    root = home()
    if root is None:
        return []
    try:
        files = [path for path in (root / FOLDER).iterdir() if path.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DocumentError(
            f"{root / FOLDER}: {reason(error)}; check its permissions, or name another folder as "
            "EDGEPROXY_HOME"
        ) from None
    return sorted(name for path in files if is_trio(name := path.name.removesuffix(SUFFIX)))


def _folder() -> Path:
    root = home()
    if root is None:
        raise DocumentError(
            "there is no folder for named indexes: this user has no home folder; name a folder as "
            "EDGEPROXY_HOME, or give the index a path"
        )
    return root.absolute() / FOLDER
