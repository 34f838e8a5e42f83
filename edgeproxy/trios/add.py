"""Files that one already has: noted by their hash, and made a trio that stays where they lie.

May touch: the files, read only; the list of known files; the store's manifests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import UsageError
from edgeproxy.files import ByteProgress
from edgeproxy.gguf import Header, open_adapter, read, read_any
from edgeproxy.trios.find import shipped_names
from edgeproxy.trios.fitting import check_trio
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import Lora, Recipe, Role, to_toml
from edgeproxy.trios.store import Store
from edgeproxy.trios.store.naming import check_trio as check_trio_name

ModelFile = TypeVar("ModelFile", Role, Lora)


@dataclass(frozen=True)
class Noted:
    """A file that is known by its hash now; `size` is in bytes."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Added:
    """An installed trio whose files lie where they lay; `doubts` say what the pair cannot say."""

    recipe: Recipe
    doubts: list[str]


def add_files(
    paths: Iterable[str | Path],
    progress: ByteProgress | None = None,
    cancel: Cancel | None = None,
) -> list[Noted]:
    """Note each of these model files and adapters, all of which are looked at first.

    Raises `ModelFileError` for one that is no sound GGUF file, with none noted then; `Cancelled`;
    and `StoreError` where the list cannot be written.
    """
    known = KnownFiles()
    found = [read_any(path) for path in paths]
    return [
        Noted(header.path.absolute(), header.file_size, known.add(header.path, progress, cancel))
        for header in found
    ]


def add_trio(
    recipe: Recipe,
    store: Store,
    progress: ByteProgress | None = None,
    cancel: Cancel | None = None,
    *,
    replacing: bool = False,
) -> Added:
    """Install the trio of `recipe` without copying its files: its manifest names their hashes.

    All is checked before the files are hashed, and nothing is installed before all of it is. An
    installed trio of the same name is replaced if `replacing`. Raises as `load` does for models
    that make no trio, `StoreError` for an impossible name or another trio of it, and `Cancelled`.
    """
    check_name(recipe.name, store, replacing)
    headers: dict[Path, Header] = {}
    for role in recipe.roles.values():
        header = headers.setdefault(role.path, read(role.path, vocab_only=role.vocab_only))
        for lora in role.loras:
            open_adapter(lora.path, header).close()
    by_role = {name: headers[role.path] for name, role in recipe.roles.items()}
    recipe, doubts = check_trio(recipe, by_role, _by_name)
    known = KnownFiles(store.root)

    def noted(role: Role) -> Role:
        loras = tuple(_noted(lora, known, progress, cancel) for lora in role.loras)
        return replace(_noted(role, known, progress, cancel), loras=loras)

    recipe = recipe.with_roles({name: noted(role) for name, role in recipe.roles.items()})
    store.install(recipe.name, to_toml(recipe), replace=replacing)
    return Added(store.recipe(recipe.name), doubts)


def check_name(name: str, store: Store, replacing: bool) -> None:
    """Raise `UsageError` or `StoreError` where no trio can be installed as `name`."""
    check_trio_name(name)
    if name in shipped_names():
        raise UsageError(f"a trio called {name} comes with edgeproxy; choose another name")
    if name in store.names() and not replacing:
        raise UsageError(
            f"a trio called {name} is installed already; choose another name, or --replace it"
        )


def _noted(
    of: ModelFile, known: KnownFiles, progress: ByteProgress | None, cancel: Cancel | None
) -> ModelFile:
    path = of.path.absolute()
    sha256 = known.add(path, progress, cancel)
    return replace(of, path=path, sha256=sha256, size=path.stat().st_size)


def _by_name(role: str) -> str:
    return f"--prompt {role.replace('_', '-')}=chatml"
