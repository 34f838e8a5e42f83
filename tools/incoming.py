"""Files and folders that take minutes to make: whole in their place, or not there.

May touch: the folder that it is given.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeproxy.trios.disk import remove_tree

_PREFIX = ".incoming-"


@contextlib.contextmanager
def incoming(folder: Path) -> Iterator[Path]:
    """A new folder in `folder` to make something in; what is left of it in the end is removed.

    So is what a kill has left of others. The caller holds the folder's lock. Raises `OSError`.
    """
    for abandoned in folder.glob(f"{_PREFIX}*"):
        remove_tree(abandoned)
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    try:
        yield temporary
    finally:
        remove_tree(temporary)
