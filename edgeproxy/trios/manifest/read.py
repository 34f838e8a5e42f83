"""TOML -> `Recipe`. Unknown keys are errors, and no path leaves the manifest's folder.

A link in that folder may lead out of it: no manifest makes one, so it is its owner's own. By size
and sha256 a manifest can name a file elsewhere too, but only one that its reader has added himself.

May touch: the manifest that it is given, and the list of known files, read only.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.files import open_regular
from edgeproxy.gguf import check_scale
from edgeproxy.prompts.formats import check_format_name
from edgeproxy.remote.endpoint import (
    KEY_PREFIX,
    MANIFEST_KEYS,
    NEEDS_TOKENIZER,
    Endpoint,
)
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest.fitted import read_fitted
from edgeproxy.trios.manifest.recipe import (
    ADAPTER_NAME,
    INDEX_NAME,
    MANIFEST,
    READERS,
    ROLES,
    Documents,
    Footprint,
    Lora,
    Recipe,
    Role,
    Source,
)
from edgeproxy.trios.manifest.table import Table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Place = Callable[[Table], Path]
"""Where the file of a role's table is. Raises `ManifestError` through `Table.fail`."""

MAX_BYTES = 1 << 20

RECIPE_KEYS = (
    *("name", "description", "licence", "verified", "memory"),
    *(*ROLES, "experts", "tuned", "fitted", "documents"),
    *("alpha", "base_weight", "plausibility", "expert_ends", "temperature"),
)
GONE_KEYS = ("policy",)
"""Keys that earlier versions wrote, and that change nothing any more."""
FILE_KEYS = ("file", "size", "sha256", "repo", "revision", "licence", "approximate_size")
ROLE_KEYS = (*FILE_KEYS, "prompt", "template", "architecture", "vocabulary", "blocks")
LORA_KEYS = (*FILE_KEYS, "scale", "name")
EXPERTS_KEYS = (*FILE_KEYS, "weight", "name")
SERVER_KEYS = (
    *("url", "model", "protocol", "way", "logprobs", "context", "timeout"),
    *("key_env", "price_in", "price_out"),
)
ADAPTED_KEYS = ("lora", "prompt")
MEMORY_KEYS = ("bytes", "context")
DOCUMENTS_KEYS = ("index", "to", "count", "tokens", "system")
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPO = rf"(?!.*(\.\.|--|\.git$)){_PART}(/{_PART})?"
_HUB_PATH = r"(?!.*(^|/)\.{0,2}(/|$))[\w.+=@,() /-]{1,255}"


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a manifest, or in a folder that holds one; its files are in the same folder.

    One of these may be a link to a file elsewhere; then the role's path is that file's. One that is
    missing there, and of which the manifest gives size and sha256, is looked up among the
    `KnownFiles`. Raises `ManifestError` for a missing or malformed manifest, an unknown key, a
    value of the wrong type, or a path that leads out of the manifest's folder by itself.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MANIFEST
    recipe = parse_recipe(read_manifest(path), path, _in_folder)
    return replace(recipe, folder=path.parent.resolve() if path.name == MANIFEST else None)


def read_pullable(path: str | Path) -> Recipe:
    """The recipe of a trio that can be pulled: every role says where it is on a hub, and its hash.

    Nothing is at its roles' paths. Raises `ManifestError` as `read_recipe` does, and for what a
    recipe lacks.
    """
    path = Path(path)
    recipe = parse_recipe(read_manifest(path), path, _on_hub)
    for key, value in (("licence", recipe.licence), ("memory", recipe.memory)):
        if not value:
            raise ManifestError(f"{path}: {key} is missing, and a recipe has to say it")
    return recipe


def read_manifest(path: Path) -> bytes:
    """The first bytes of a manifest, more than it may have. Raises `ManifestError`."""
    try:
        with open_regular(path) as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such manifest; check the path") from None
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the path
        raise ManifestError(f"{path}: this cannot be a path ({error})") from None


def parse_recipe(data: bytes, path: Path, place: Place) -> Recipe:
    """The recipe that `data` holds; errors name `path`, and `place` says where its files are.

    Raises `ManifestError`.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{path}: this is too large for a trio's manifest")
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: this is not valid TOML ({error})") from None
    table = Table(path, "", content)
    base, anti_expert = _base(table.table("base"), place), _role(table.table("anti_expert"), place)
    expert = _expert(table, place, anti_expert)
    recipe = Recipe(
        name=table.string("name"),
        base=base,
        expert=expert,
        anti_expert=anti_expert,
        description=table.string("description", ""),
        licence=table.string("licence", ""),
        steering=_steering(table),
        temperature=table.number("temperature", 0.0, _check_temperature),
        verified=table.flag("verified", False),
        memory=_footprint(table.table("memory")) if "memory" in table else None,
        tuned=_adapted(table.table("tuned"), place, base, "base") if "tuned" in table else None,
        fitted=read_fitted(table.table("fitted")) if "fitted" in table else None,
        documents=_documents(table.table("documents")) if "documents" in table else None,
    )
    table.refuse_others((*RECIPE_KEYS, *GONE_KEYS))
    return recipe


def _steering(table: Table) -> Steering:
    policy = table.string("policy", "constant")
    if policy != "constant":
        table.fail(
            f"policy is {policy!r}, and policies were taken out: none was best on any task; "
            "take this line out, and find other settings with edgeproxy fit"
        )
    try:
        return Steering(
            alpha=table.number("alpha", PAPER.alpha, float),
            base_weight=table.number("base_weight", PAPER.base_weight, float),
            plausibility=table.number("plausibility", PAPER.plausibility, float),
            expert_ends=table.flag("expert_ends", PAPER.expert_ends),
        )
    except UsageError as error:
        table.fail(str(error))


def _expert(table: Table, place: Place, anti_expert: Role) -> Role:
    """The expert of a manifest: a file of its own, or adapters for the anti-expert's."""
    if "experts" not in table:
        return _adapted(table.table("expert"), place, anti_expert, "anti-expert")
    prompt = "plain"
    if "expert" in table:
        expert = table.table("expert")
        for key in ("file", "lora"):
            if key in expert:
                expert.fail(f"{key} is of no use beside [[experts]]: they are the expert")
        prompt = _prompt(expert)
        expert.refuse_others(("prompt",))
    loras = [_lora(each, place, "weight", EXPERTS_KEYS) for each in table.tables("experts")]
    try:
        return anti_expert.with_loras(loras, prompt)
    except UsageError as error:
        table.fail(f"experts: {error}")


def _adapted(table: Table, place: Place, of: Role, whose: str) -> Role:
    """A model with a file of its own, or with an adapter for the weights of the model `of`."""
    if "lora" not in table:
        return _role(table, place)
    if "file" in table:
        table.fail(f"file is of no use beside lora: the weights are the {whose}'s")
    prompt = _prompt(table)
    lora = _lora(table.table("lora"), place, "scale", LORA_KEYS)
    table.refuse_others(ADAPTED_KEYS)
    return of.with_loras([lora], prompt)


def _lora(table: Table, place: Place, weight: str, keys: tuple[str, ...]) -> Lora:
    """The adapter of a table, whose key `weight` says how much of it is added."""
    name = table.match("name", ADAPTER_NAME, "a name of 1 to 64 characters, none of them a control")
    scale = table.number(weight, 1.0, check_scale)
    table.refuse_others(keys)
    return Lora(scale=scale, name=name or "", **_file(table, place))


def _base(table: Table, place: Place) -> Role:
    """The base of a manifest: a model's file, or a server and the file of its tokenizer."""
    if "url" not in table:
        return _role(table, place)
    if "file" in table:
        table.fail("file is of no use beside url: the model is on a server; give its tokenizer")
    if "tokenizer" not in table:
        table.fail(f"tokenizer is missing: {NEEDS_TOKENIZER}")
    table.string("tokenizer")
    asked = {key: value for key, value in table.content.items() if key in SERVER_KEYS}
    rest = {key: value for key, value in table.content.items() if key not in SERVER_KEYS}
    rest["file"] = rest.pop("tokenizer")
    role = _role(replace(table, content=rest), place)
    return replace(role, endpoint=_endpoint(replace(table, content=asked)))


def _endpoint(table: Table) -> Endpoint:
    key_env = table.match(
        "key_env",
        MANIFEST_KEYS,
        f"an environment variable whose name begins with {KEY_PREFIX}, so that no manifest sends "
        "another program's key; any can be named with --base-key-env",
    )
    try:
        return Endpoint(
            url=table.string("url"),
            model=table.string("model", ""),
            protocol=cast(Any, table.string("protocol", "")) or None,
            way=cast(Any, table.string("way", "")) or None,
            logprobs=table.count("logprobs"),
            context=table.count("context", "a number of tokens"),
            timeout=table.number("timeout", 60.0, float),
            key_env=key_env,
            price_in=table.number("price_in", 0.0, float),
            price_out=table.number("price_out", 0.0, float),
        )
    except UsageError as error:
        table.fail(str(error))


def _role(table: Table, place: Place) -> Role:
    role = Role(
        **_file(table, place),
        prompt=_prompt(table),
        template=table.match("template", r"[0-9a-f]{64}", "64 hexadecimal digits"),
        architecture=table.match("architecture", r"[\w.-]{1,64}", "an architecture's name"),
        vocabulary=table.count("vocabulary", "a number of tokens"),
        blocks=table.count("blocks"),
    )
    table.refuse_others(ROLE_KEYS)
    return role


def _file(table: Table, place: Place) -> dict[str, Any]:
    """What a role, or an adapter, says of its file."""
    path, file = place(table), table.string("file")
    size = table.count("size", "a number of bytes", least=0)
    approximate_size = table.count("approximate_size", "a number of bytes")
    if size is not None and approximate_size is not None:
        table.fail("approximate_size is of no use where size is given")
    return {
        "path": path,
        "size": size,
        "sha256": sha256_of(table),
        # The path says it already, except where the path is a hash.
        "file": None if path.name == Path(file).name else Path(file).name,
        "source": _source(table),
        "licence": table.string("licence", ""),
        "approximate_size": approximate_size,
    }


def _prompt(table: Table) -> str:
    try:
        return check_format_name(table.string("prompt", "plain"))
    except UsageError as error:
        table.fail(f"prompt: {error}")


def sha256_of(table: Table) -> str | None:
    """The sha256 that a role's table gives, or None."""
    return table.match("sha256", r"[0-9a-f]{64}", "64 hexadecimal digits") or None


def _source(table: Table) -> Source | None:
    repo = table.match("repo", _REPO, "a repository of a hub, such as org/name")
    revision = table.match("revision", r"[0-9a-f]{40}", "a commit: 40 hexadecimal digits")
    if repo is None and revision is None:
        return None
    if repo is None or revision is None:
        table.fail("repo and revision are given together, or neither is")
    file = table.match("file", _HUB_PATH, "a path in the repository")
    return Source(repo, revision, file or "")


def _footprint(table: Table) -> Footprint:
    size, context = table.count("bytes", "a number of bytes"), table.count("context")
    if size is None or context is None:
        table.fail("bytes is missing" if size is None else "context is missing")
    table.refuse_others(MEMORY_KEYS)
    return Footprint(size, context)


def _documents(table: Table) -> Documents:
    index = table.match("index", INDEX_NAME, "the name of an index, and no path")
    if index is None:
        table.fail("index is missing")
    usual = Documents(index)
    said = table.string("to", usual.to)
    to = next((readers for readers in READERS if readers == said), None)
    if to is None:
        table.fail(f"to must be one of {', '.join(READERS)}")
    count = table.count("count", "a number of passages") or usual.count
    tokens = table.count("tokens", "a number of tokens") or usual.tokens
    system = table.strings("system", (*ROLES, "tuned"))
    table.refuse_others(DOCUMENTS_KEYS)
    return Documents(index, to, count, tokens, system)


def _check_temperature(value: float) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise UsageError(f"temperature must be 0 or more, not {value}")
    return value


def _in_folder(table: Table) -> Path:
    given = Path(table.string("file"))
    try:
        path = (table.path.parent / given).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        table.fail("file cannot be a path, or is a link to itself")
    if given.anchor or ".." in given.parts:
        table.fail(
            "file must stay in the manifest's folder; move it there, or make a link to it there"
        )
    size, sha256 = table.count("size", "a number of bytes", least=0), sha256_of(table)
    if size is None or sha256 is None or os.path.lexists(path):
        return path
    return KnownFiles().find(sha256, size) or path


def _on_hub(table: Table) -> Path:
    for key in ("repo", "revision", "sha256"):
        table.string(key)
    return Path(Path(table.string("file")).name)
