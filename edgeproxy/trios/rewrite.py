"""The manifest of a trio of the user's own, rewritten with what `edgeproxy fit` found.

May touch: the manifest, which is replaced in one step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError, StoreError, UsageError
from edgeproxy.files import reason, replacing
from edgeproxy.trios.find import MANIFEST, shipped_folders, shipped_names
from edgeproxy.trios.manifest import Documents, Fitted
from edgeproxy.trios.manifest.edit import with_fit
from edgeproxy.trios.store import Store


class OwnManifest:
    """The manifest of the trio called `name`, or at that path, which may be rewritten.

    Raises `UsageError` for a trio that comes with edgeproxy, and `ManifestError` for one that
    cannot be read.
    """

    def __init__(self, name: str) -> None:
        is_name = re.fullmatch(r"[\w.-]+", name) is not None
        store = Store()
        self._install: Callable[[bytes], None] | None = None
        if is_name and name in shipped_names():
            raise _shared(name)
        if is_name and name in store.names():
            path = store.trios / name / MANIFEST
            self._install = lambda data: _install(store, name, data)
        else:
            path = Path(name) / MANIFEST if Path(name).is_dir() else Path(name)
        # Where a link leads to is what gets replaced, not the link.
        self.path = Path(os.path.realpath(path))
        if any(self.path.is_relative_to(shipped.resolve()) for shipped in shipped_folders()):
            raise _shared(name)
        self._text = _read(self.path)

    def write(self, steering: Steering, fitted: Fitted, documents: Documents | None = None) -> None:
        """Put these into the manifest. Raises `ManifestError` or `StoreError`; nothing changed."""
        if _read(self.path) != self._text:
            raise ManifestError(f"{self.path}: it was changed meanwhile, and is left as it is")
        data = with_fit(self._text, self.path, steering, fitted, documents).encode("utf-8")
        if self._install is not None:
            self._install(data)
            return
        try:
            with replacing(self.path) as file:
                file.write(data)
        except OSError as error:
            raise ManifestError(f"{self.path}: {reason(error)}; nothing was changed") from None


def _install(store: Store, name: str, data: bytes) -> None:
    """Install a trio anew under the manifest `data`, with what else lies beside it."""
    folder = store.trios / name
    try:
        extra = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST}
    except OSError as error:
        raise StoreError(f"{error.filename}: {reason(error)}") from None
    store.install(name, data, extra, replace=True)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ManifestError(f"{path}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: this is not valid UTF-8") from None


def _shared(name: str) -> UsageError:
    return UsageError(
        f"the trio {name} comes with edgeproxy, and its manifest is left as it is; give --dry-run, "
        "or fit a copy of its folder"
    )
