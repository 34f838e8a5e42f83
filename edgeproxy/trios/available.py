"""The trios that there are, sound or not: what ships, what is installed, what could be pulled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeproxy.errors import EdgeproxyError
from edgeproxy.trios.find import find_pullable, pullable_names, shipped_names, shipped_recipe
from edgeproxy.trios.manifest import Lora, Recipe, Role
from edgeproxy.trios.store import Store

Origin = Literal["shipped", "installed", "recipe", "path"]


@dataclass(frozen=True)
class Listed:
    """One trio. `recipe` is None where its manifest is damaged; `problem` says what is wrong."""

    name: str
    origin: Origin
    recipe: Recipe | None
    problem: str | None = None

    @property
    def size(self) -> int | None:
        """The bytes of its models, which other trios may share; None where that is not known.

        Of a recipe it may be approximate: see `is_exact`.
        """
        if self.recipe is None:
            return None
        files = {file.path: file for file in self._files}
        if self.origin == "recipe":
            sizes = [role.size or role.approximate_size for role in files.values()]
        else:
            sizes = [path.stat().st_size if path.is_file() else None for path in files]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def is_exact(self) -> bool:
        """Whether `size` is known to the byte."""
        return self.origin != "recipe" or all(file.size is not None for file in self._files)

    @property
    def _files(self) -> list[Role | Lora]:
        """The files of the three that answer."""
        return self.recipe.needed if self.recipe else []


def shipped() -> list[Listed]:
    """The trios that come with edgeproxy."""
    found = []
    for name in shipped_names():
        try:
            found.append(Listed(name, "shipped", shipped_recipe(name)))
        except EdgeproxyError as error:
            found.append(Listed(name, "shipped", None, str(error)))
    return found


def installed(store: Store) -> list[Listed]:
    """The trios in the store. Raises `StoreError` where it cannot be read at all."""
    found = []
    for name in store.names():
        recipe, problem = None, None
        try:
            recipe = store.recipe(name, whole=False)
            store.recipe(name)
        except EdgeproxyError as error:
            problem = str(error)
        if problem is None and name in shipped_names():
            problem = "the trio of the same name that comes with edgeproxy is used instead"
        found.append(Listed(name, "installed", recipe, problem))
    return found


def pullable() -> list[Listed]:
    """The recipes that come with edgeproxy, whether they have been pulled or not."""
    return [Listed(name, "recipe", find_pullable(name)) for name in pullable_names()]
