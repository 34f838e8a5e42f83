"""What is to be pulled: a recipe by name, a recipe of the user's, or three references to a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.prompts.formats import FILE_OR_PLAIN
from edgeproxy.trios.find import find_pullable, pullable_names, shipped_names
from edgeproxy.trios.manifest import ROLES, Recipe, Role, Source, parse_recipe, to_toml
from edgeproxy.trios.manifest.read import read_manifest
from edgeproxy.trios.manifest.table import Table
from edgeproxy.trios.store.naming import check_trio as check_trio_name

_FORM = "hf:ORG/NAME/FILE@REVISION, or with #sha256=DIGITS after it"
_REFERENCE = re.compile(
    r"hf:(?P<repo>[^/@#\s]+/[^/@#\s]+)/(?P<file>[^@#]+)@(?P<revision>[^@#]+)(#sha256=(?P<sha256>.+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WITHOUT_HASH = (
    "sha256 is missing, and nothing else tells a wrong file; give it, or take what the hub has now "
    "with --trust-first"
)


def named(what: str, name: str | None = None, *, trust_first: bool = False) -> Recipe:
    """The recipe called `what`, or in the file at that path; `name` calls the trio otherwise.

    A role may lack its sha256 with `trust_first` only. Raises `ManifestError`, or `UsageError` for
    what needs no pulling and for an impossible name.
    """
    if what not in pullable_names() and what in shipped_names():
        raise UsageError(f"{what} comes with edgeproxy: there is nothing to pull")
    if what not in pullable_names() and Path(what).suffix == ".toml":
        recipe = _parse(read_manifest(Path(what)), Path(what), trust_first)
    else:
        recipe = find_pullable(what)
    return _called(replace(recipe, tuned=None), name)


def of_references(
    name: str | None,
    references: Mapping[str, str | None],
    prompts: Mapping[str, str | None],
    *,
    trust_first: bool = False,
) -> Recipe:
    """The recipe of the files that `references` name for each role (see `source_of`).

    Base and anti-expert read plain text where `prompts` says nothing of them, and the expert the
    template of its own file, should it have one. Raises `UsageError`.
    """
    missing = [role.replace("_", "-") for role in ROLES if not references.get(role)]
    if missing:
        raise UsageError(
            f"no model for {' and '.join(missing)}: name a recipe (there are: "
            f"{', '.join(pullable_names()) or 'none'}), or give all three files as {_FORM}"
        )
    if not name:
        raise UsageError("three files need a --name, under which they are installed")
    roles = {}
    for role in ROLES:
        source, sha256 = source_of(references[role] or "")
        file = Path(Path(source.file).name)
        roles[role] = Role(file, prompts.get(role) or "plain", sha256=sha256, source=source)
    asked = Recipe(name, roles["base"], roles["expert"], roles["anti_expert"])
    try:
        recipe = _parse(to_toml(asked).encode(), Path("pull"), trust_first)
    except ManifestError as error:
        raise UsageError(str(error)) from None
    if not prompts.get("expert"):
        recipe = recipe.with_roles({"expert": replace(recipe.expert, prompt=FILE_OR_PLAIN)})
    return _called(recipe, name)


def source_of(reference: str) -> tuple[Source, str | None]:
    """What `hf:ORG/NAME/FILE@REVISION#sha256=DIGITS` names; the hash may be missing.

    Raises `UsageError`.
    """
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise UsageError(f"{reference!r} names no file of a hub; write {_FORM}")
    if not _COMMIT.fullmatch(found["revision"]):
        raise UsageError(
            f"{reference}: a revision is a commit's 40 hexadecimal digits, because a branch's "
            "files change; the hub's page of the file shows them under History"
        )
    return Source(found["repo"], found["revision"], found["file"]), found["sha256"]


def _called(recipe: Recipe, name: str | None) -> Recipe:
    chosen = name or recipe.name
    check_trio_name(chosen)
    if chosen in shipped_names():
        raise UsageError(f"a trio called {chosen} comes with edgeproxy; choose another --name")
    return replace(recipe, name=chosen)


def _parse(data: bytes, path: Path, trust_first: bool) -> Recipe:
    def place(table: Table) -> Path:
        for key in ("repo", "revision"):
            table.string(key)
        if "sha256" not in table and not trust_first:
            table.fail(_WITHOUT_HASH)
        return Path(Path(table.string("file")).name)

    return parse_recipe(data, path, place)
