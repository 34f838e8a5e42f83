"""Where trios and recipes are looked for: among those that ship, in the store, and at paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproxy.errors import ManifestError, StoreError, UsageError
from edgeproxy.gguf import check_scale
from edgeproxy.prompts.formats import FILE_OR_PLAIN
from edgeproxy.remote.endpoint import Endpoint, ServerChange
from edgeproxy.trios.manifest import MANIFEST, ROLES, Lora, Recipe, Role, read_pullable, read_recipe
from edgeproxy.trios.manifest.recipe import is_adapter_name
from edgeproxy.trios.store import Store

__all__ = [
    "MANIFEST",
    "ROLES",
    "Lora",
    "LoraChoice",
    "Recipe",
    "Role",
    "choose_recipe",
    "find_pullable",
    "find_recipe",
    "loras_of",
    "on_server",
    "pullable_names",
    "read_recipe",
    "recipe_of_files",
    "shipped_folders",
    "shipped_names",
    "shipped_recipe",
]

RECIPES = "recipes"

LoraChoice = (
    str
    | Path
    | Mapping[str, float]
    | Mapping[Path, float]
    | Sequence[tuple[str, float]]
    | Sequence[tuple[Path, float]]
)
"""An adapter's path, or several with the weight of each."""


def find_recipe(name: str) -> Recipe:
    """The trio called `name`, or in the folder or manifest at that path.

    A name is looked for among the trios that ship, then among the installed ones; `./name` is
    always a path. Raises `ManifestError` naming the trios that there are when it is none of these,
    and `StoreError` for an installed one that is damaged.
    """
    if re.fullmatch(r"[\w.-]+", name):
        if name in shipped_names():
            return shipped_recipe(name)
        store = Store()
        if name in store.names():
            return store.recipe(name)
    given = Path(name)
    if given.is_dir() or given.suffix == ".toml":
        return read_recipe(given)
    if name in pullable_names():
        raise ManifestError(f"the trio {name} is not installed yet; get it: edgeproxy pull {name}")
    known = sorted({*shipped_names(), *_installed_names()})
    there_are = f"there are: {', '.join(known)}" if known else "none is installed"
    raise ManifestError(
        f"there is no trio called {name!r} ({there_are}); give a name, or the path of a trio.toml"
    )


def find_pullable(name: str) -> Recipe:
    """The recipe called `name`, or in the TOML file at that path, of a trio that can be pulled.

    Raises `ManifestError` naming the recipes that there are when it is neither.
    """
    if name in pullable_names():
        return read_pullable(_recipe_files()[name])
    if Path(name).suffix == ".toml":
        return read_pullable(name)
    known = ", ".join(pullable_names())
    raise ManifestError(
        f"there is no recipe called {name!r} (there are: {known}); give a name, or the path of a "
        "recipe's .toml"
    )


def shipped_names() -> list[str]:
    """The trios that come with edgeproxy."""
    return sorted({p.parent.name for f in shipped_folders() for p in f.glob(f"*/{MANIFEST}")})


def shipped_recipe(name: str) -> Recipe:
    """The trio called `name` that comes with edgeproxy. Raises `ManifestError`."""
    found = [f / name for f in shipped_folders() if (f / name / MANIFEST).is_file()]
    if not found:
        raise ManifestError(f"no trio called {name!r} comes with edgeproxy")
    return read_recipe(found[0])


def pullable_names() -> list[str]:
    """The recipes that come with edgeproxy: trios that can be pulled."""
    return sorted(_recipe_files())


def choose_recipe(
    trio: str | Path | Recipe | None = None,
    base: str | Path | None = None,
    expert: str | Path | None = None,
    anti_expert: str | Path | None = None,
    expert_lora: LoraChoice | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe that these arguments name; a file takes its role's place in the trio.

    With `expert_lora` the expert is the anti-expert with these adapters. `prompts` names formats
    for some of the roles. Raises `UsageError` when there is neither a trio nor all three models,
    when two experts are named, and for a role or a format that there is not.
    """
    recipe = _of_files_and_trio(trio, base, expert, anti_expert, expert_lora)
    return recipe.with_prompts(prompts or {})


def loras_of(chosen: LoraChoice) -> tuple[Lora, ...]:
    """The adapters that `chosen` names. Raises `UsageError` for none, and an impossible weight."""
    if isinstance(chosen, str | Path):
        return (Lora(Path(chosen)),)
    pairs = [*(chosen.items() if isinstance(chosen, Mapping) else chosen)]
    if not pairs:
        raise UsageError("expert_lora names no adapter: give a path, or paths and their weights")
    names = _names_of([Path(path) for path, _ in pairs])
    return tuple(
        Lora(Path(path), check_scale(float(weight)), name=name)
        for name, (path, weight) in zip(names, pairs, strict=True)
    )


def _names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each adapter: its file's, with its folder's before it where two have the same.

    Raises `UsageError` for a file that is given twice.
    """
    for path in paths:
        if sum(path.absolute() == other.absolute() for other in paths) > 1:
            raise UsageError(f"the adapter {path} is given twice; add its weights up")
    stems = [path.stem for path in paths]
    with_folder = [f"{path.absolute().parent.name}/{path.stem}" for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    if len(set(with_folder)) == len(with_folder) and all(map(is_adapter_name, with_folder)):
        return with_folder
    return [f"adapter {n}" for n in range(1, len(paths) + 1)]


def _of_files_and_trio(
    trio: str | Path | Recipe | None,
    base: str | Path | None,
    expert: str | Path | None,
    anti_expert: str | Path | None,
    expert_lora: LoraChoice | None,
) -> Recipe:
    files = {"base": base, "expert": expert, "anti_expert": anti_expert}
    given = {role: Path(path) for role, path in files.items() if path is not None}
    loras = () if expert_lora is None else loras_of(expert_lora)
    if loras and "expert" in given:
        named = " and ".join(str(lora.path) for lora in loras)
        raise UsageError(
            f"the expert is either {expert} or the anti-expert with the adapter {named}: "
            "leave one of them out"
        )
    if trio is None:
        missing = [role for role in files if role not in given and not (loras and role == "expert")]
        if missing:
            raise UsageError(
                f"no model for {' and '.join(missing)}: name a trio, or give all three files"
            )
        return recipe_of_files(given["base"], given.get("expert"), given["anti_expert"], loras)
    recipe = trio if isinstance(trio, Recipe) else find_recipe(str(trio))
    own = {role: Role(path, recipe.roles[role].prompt) for role, path in given.items()}
    roles = {**recipe.roles, **own}
    loras = loras or roles["expert"].loras
    if loras:
        roles["expert"] = roles["anti_expert"].with_loras(loras, roles["expert"].prompt)
    return recipe.with_roles(roles)


def on_server(base: Role, change: ServerChange) -> Role:
    """`base` on a server, with these settings of its endpoint; as it is where there are none.

    Raises `UsageError` for impossible settings, and for some of a server that nobody named.
    """
    if not isinstance(change, Mapping):
        raise UsageError(f'server must be settings, as {{"url": "http://..."}}, not {change!r}')
    given: dict[str, Any] = {key: value for key, value in change.items() if value is not None}
    if unknown := sorted(set(given) - set(ServerChange.__annotations__)):
        known = ", ".join(ServerChange.__annotations__)
        raise UsageError(f"server has no setting {unknown[0]!r}; it has {known}")
    if not given:
        return base
    if base.endpoint is None and "url" not in given:
        names = ", ".join(sorted(given))
        raise UsageError(
            f"settings of a server ({names}) were given, and the base is a file; "
            "name the server too (--base-url)"
        )
    # A key that is named now stands in the place of the manifest's.
    for key, other in (("key_env", "key_file"), ("key_file", "key_env")):
        if key in given:
            given.setdefault(other, None)
    endpoint = replace(base.endpoint, **given) if base.endpoint else Endpoint(**given)
    return replace(base, endpoint=endpoint)


def recipe_of_files(
    base: Path, expert: Path | None, anti_expert: Path, loras: Sequence[Lora] = ()
) -> Recipe:
    """A recipe for three files: base and anti-expert read plain text, the expert its own template.

    An expert without a template in its file reads plain text too. Without a file it is the
    anti-expert, with `loras` where these are given.
    """
    role = Role(expert or anti_expert).with_loras(loras, FILE_OR_PLAIN)
    return Recipe(
        name=" + ".join([base.stem, *(file.path.stem for file in role.own_files)]),
        base=Role(base),
        expert=role,
        anti_expert=Role(anti_expert),
    )


def _installed_names() -> list[str]:
    try:
        return Store().names()
    except StoreError:
        return []  # the message under way matters more


def _recipe_files() -> dict[str, Path]:
    return {p.stem: p for f in shipped_folders() for p in (f / RECIPES).glob("*.toml")}


def shipped_folders() -> list[Path]:
    """The folders of trios that come with edgeproxy.

    In an installed wheel the trios lie inside the package; in a clone, beside it.
    """
    package = Path(__file__).parents[1]
    return [path for path in (package / "models", package.parent / "models") if path.is_dir()]
