"""A trio's manifest (`trio.toml`) as a frozen dataclass, and where trios are looked for."""

from __future__ import annotations

import math
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.fuse import check_alpha, check_plausibility
from edgeproxy.prompt import FILE_OR_PLAIN, check_format_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = "trio.toml"
ROLES = ("base", "expert", "anti_expert")
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Role:
    """One model of a trio: its file, how it reads a conversation, and what the file must be."""

    path: Path
    prompt: str = "plain"
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What a trio is made of. `tuned` is the base tuned directly, kept only for measuring."""

    name: str
    base: Role
    expert: Role
    anti_expert: Role
    tuned: Role | None = None
    description: str = ""
    licence: str = ""
    alpha: float = 1.0
    plausibility: float = 0.0
    temperature: float = 0.0

    @property
    def roles(self) -> Mapping[str, Role]:
        """The three that answer together, by their manifest names."""
        return {"base": self.base, "expert": self.expert, "anti_expert": self.anti_expert}


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a manifest, or in a folder that holds one.

    Raises `ManifestError` for a missing or malformed one, an unknown key, a value of the wrong
    type, or a file outside the manifest's folder.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MANIFEST
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ManifestError(f"{path}: a manifest is a regular file")
        if status.st_size > _MAX_MANIFEST_BYTES:
            raise ManifestError(f"{path}: this is too large for a trio's manifest")
        content = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such manifest") from None
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: this is not valid TOML ({error})") from None
    table = _Table(path, "", content)
    roles = {name: _role(table.table(name), path.parent) for name in ROLES}
    tuned = _role(table.table("tuned"), path.parent) if "tuned" in content else None
    recipe = Recipe(
        name=table.string("name"),
        description=table.string("description", ""),
        licence=table.string("licence", ""),
        alpha=table.number("alpha", 1.0, check_alpha),
        plausibility=table.number("plausibility", 0.0, check_plausibility),
        temperature=table.number("temperature", 0.0, _check_temperature),
        tuned=tuned,
        **roles,
    )
    table.refuse_others(field.name for field in fields(Recipe))
    return recipe


def find_recipe(name: str) -> Recipe:
    """The trio called `name`, or in the folder or manifest at that path.

    A name is looked for among the installed trios first; `./name` is always a path. Raises
    `ManifestError` naming the trios that there are when it is none of these.
    """
    if re.fullmatch(r"[\w.-]+", name):
        for folder in _shipped_folders():
            if (folder / name / MANIFEST).is_file():
                return read_recipe(folder / name)
    given = Path(name)
    if given.is_dir() or given.suffix == ".toml":
        return read_recipe(given)
    known = sorted(path.parent.name for f in _shipped_folders() for path in f.glob(f"*/{MANIFEST}"))
    there_are = f"there are: {', '.join(known)}" if known else "none is installed"
    raise ManifestError(
        f"there is no trio called {name!r} ({there_are}); give a name, or the path of a trio.toml"
    )


def choose_recipe(
    trio: str | Path | Recipe | None = None,
    base: str | Path | None = None,
    expert: str | Path | None = None,
    anti_expert: str | Path | None = None,
) -> Recipe:
    """The recipe that these arguments name; a file takes its role's place in the trio.

    Raises `UsageError` when there is neither a trio nor all three files.
    """
    files = {"base": base, "expert": expert, "anti_expert": anti_expert}
    given = {role: Path(path) for role, path in files.items() if path is not None}
    if trio is None:
        if len(given) < len(files):
            missing = [role for role in files if role not in given]
            raise UsageError(
                f"no model for {' and '.join(missing)}: name a trio, or give all three files"
            )
        return recipe_of_files(given["base"], given["expert"], given["anti_expert"])
    recipe = trio if isinstance(trio, Recipe) else find_recipe(str(trio))
    roles = {role: Role(path, recipe.roles[role].prompt) for role, path in given.items()}
    roles = {**recipe.roles, **roles}
    return replace(
        recipe, base=roles["base"], expert=roles["expert"], anti_expert=roles["anti_expert"]
    )


def recipe_of_files(base: Path, expert: Path, anti_expert: Path) -> Recipe:
    """A recipe for three files: base and anti-expert read plain text, the expert its own template.

    An expert without a template in its file reads plain text too.
    """
    return Recipe(
        name=f"{base.stem} + {expert.stem}",
        base=Role(base),
        expert=Role(expert, prompt=FILE_OR_PLAIN),
        anti_expert=Role(anti_expert),
    )


def _shipped_folders() -> list[Path]:
    """In an installed wheel the trios lie inside the package; in a clone, beside it."""
    package = Path(__file__).parent
    return [path for path in (package / "models", package.parent / "models") if path.is_dir()]


def _check_temperature(value: float) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise UsageError(f"temperature must be 0 or more, not {value}")
    return value


@dataclass(frozen=True)
class _Table:
    """A TOML table with typed getters whose errors name the manifest and the key."""

    path: Path
    where: str
    content: Mapping[str, Any]

    def _get(self, key: str, kinds: tuple[type, ...], what: str, default: Any) -> Any:
        value = self.content.get(key, default)
        if value is None and default is None:
            raise ManifestError(f"{self.path}: {self.where}{key} is missing")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ManifestError(f"{self.path}: {self.where}{key} must be {what}")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        return str(self._get(key, (str,), "a string", default))

    def number(self, key: str, default: float, check: Any) -> float:
        value = self._get(key, (int, float), "a number", default)
        try:
            return float(check(float(value)))
        except (UsageError, OverflowError) as error:
            raise ManifestError(f"{self.path}: {self.where}{key}: {error}") from None

    def size(self, key: str) -> int | None:
        value = self._get(key, (int,), "a number of bytes", -1)
        if key in self.content and value < 0:
            raise ManifestError(f"{self.path}: {self.where}{key} must be 0 or more, not {value}")
        return int(value) if key in self.content else None

    def table(self, key: str) -> _Table:
        return _Table(self.path, f"{key}.", self._get(key, (dict,), "a table", None))

    def refuse_others(self, known: Iterable[str]) -> None:
        unknown = sorted(set(self.content) - set(known))
        if unknown:
            raise ManifestError(f"{self.path}: unknown key {self.where}{unknown[0]}")


def _role(table: _Table, folder: Path) -> Role:
    try:
        path = (folder / table.string("file")).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        inside = False
    if not inside:
        raise ManifestError(f"{table.path}: {table.where}file must stay in the manifest's folder")
    try:
        prompt = check_format_name(table.string("prompt", "plain"))
    except UsageError as error:
        raise ManifestError(f"{table.path}: {table.where}prompt: {error}") from None
    size = table.size("size")
    sha256 = table.string("sha256", "")
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ManifestError(f"{table.path}: {table.where}sha256 must be 64 hexadecimal digits")
    table.refuse_others(("file", "prompt", "size", "sha256"))
    return Role(path, prompt, size, sha256 or None)
