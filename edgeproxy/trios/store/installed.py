"""What is in the store, for whoever only reads: no lock is taken, nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgeproxy.errors import ManifestError, StoreError
from edgeproxy.files import ByteProgress
from edgeproxy.trios import disk
from edgeproxy.trios.home import BLOBS, home
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import MANIFEST, Lora, Recipe, Role, parse_recipe
from edgeproxy.trios.manifest.read import sha256_of
from edgeproxy.trios.manifest.table import Table
from edgeproxy.trios.missing import of_what
from edgeproxy.trios.store import naming
from edgeproxy.trios.store.check import Finding, check


class Installed:
    """The reading half of `Store`. Raises `StoreError` for what cannot be read."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root if root is not None else home()

    @property
    def root(self) -> Path:
        """The store's folder. Raises `StoreError` where this user has none."""
        if self._root is None:
            raise StoreError(
                "there is no folder to install trios in: this user has no home folder; name a "
                "folder as EDGEPROXY_HOME"
            )
        return self._root

    @property
    def blobs(self) -> Path:
        """The folder of model files."""
        return self.root / BLOBS

    @property
    def trios(self) -> Path:
        """The folder of trios."""
        return self.root / "trios"

    @property
    def tmp(self) -> Path:
        """The folder of what is under way."""
        return self.root / "tmp"

    def names(self) -> list[str]:
        """The installed trios, damaged ones too; none where there is no folder for any."""
        if self._root is None:
            return []
        with disk.telling(self.trios):
            try:
                return sorted(
                    p.name for p in self.trios.iterdir() if naming.is_trio(p.name) and p.is_dir()
                )
            except FileNotFoundError:
                return []

    def recipe(self, name: str, whole: bool = True) -> Recipe:
        """The installed trio called `name`; its roles' paths are blobs, or known files elsewhere.

        Raises `StoreError` where there is none, where its manifest is damaged, or (unless `whole`
        is False) where a model file is missing or has another size.
        """
        self._check_installed(name)
        path = self.trios / name / MANIFEST
        again = f"install it again: edgeproxy pull {name}, or edgeproxy bundle install"
        there = "; or, where you have that file elsewhere: edgeproxy add FILE"
        try:
            recipe = parse_recipe(path.read_bytes(), path, self._place)
        except OSError as error:
            raise StoreError(f"{path}: {disk.reason(error)}; {again}") from None
        except ManifestError as error:
            raise StoreError(f"{error}; {again}") from None
        if recipe.name != name:
            raise StoreError(f"{path}: this is the manifest of {recipe.name!r}; {again}")
        problem = self._lacks(recipe) if whole else None
        if problem:
            raise StoreError(f"the trio {name} is not whole: {problem}; {again}{there}")
        return replace(recipe, folder=self.trios / name)

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Whether the file with that hash is here (and has that size)."""
        with disk.telling(self.blobs):
            there = disk.regular_size(self.blob(sha256))
        return there is not None and size in (None, there)

    def holds(self, path: Path) -> bool:
        """Whether this is the path of a model file in the store."""
        return self._root is not None and path.parent == self.blobs

    def blob(self, sha256: str) -> Path:
        """Where the file with that hash is, or would be."""
        if not naming.is_sha256(sha256):
            raise StoreError(f"{sha256!r} is not a sha256: 64 hexadecimal digits")
        return self.blobs / sha256

    def verify(
        self, names: Iterable[str] | None = None, progress: ByteProgress | None = None
    ) -> list[Finding]:
        """Read the files of these trios (or of all) again; what is to be said of each.

        Raises `StoreError` for a trio that is not installed, or whose manifest is damaged.
        """
        chosen = self.names() if names is None else names
        return check([self.recipe(name, whole=False) for name in chosen], progress)

    def _place(self, table: Table) -> Path:
        sha256 = sha256_of(table)
        if sha256 is None:
            table.fail("sha256 is missing, by which an installed trio's files are found")
        return KnownFiles(self._root).find(sha256) or self.blobs / sha256

    def _check_installed(self, name: str) -> None:
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise StoreError(f"no trio called {name!r} is installed (there are: {known})")

    def _lacks(self, recipe: Recipe) -> str | None:
        """What is wrong with the model files of a trio, if anything is."""

        def wrong(role: Role | Lora) -> str | None:
            size = disk.regular_size(role.path)
            if size is None:
                return f"its file {role.file_name} is missing{of_what(role)}"
            if role.size not in (None, size):
                return f"its file {role.file_name} has {size:,} bytes instead of {role.size:,}"
            return None

        with disk.telling(self.blobs):
            return next(filter(None, map(wrong, recipe.needed)), None)
