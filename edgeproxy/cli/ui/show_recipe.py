"""The part of `edgeproxy show` for a recipe: what a pull would get. Opens and fetches nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.output import columns
from edgeproxy.errors import EdgeproxyError, ManifestError

if TYPE_CHECKING:
    from edgeproxy.trios.manifest import Recipe, Role


def not_pulled(name: str) -> Recipe | None:
    """The recipe called `name`, or in the file at that path, should its files not be here."""
    from edgeproxy.trios.find import find_pullable, find_recipe, pullable_names
    from edgeproxy.trios.manifest import read_pullable

    try:
        recipe = find_recipe(name)
    except ManifestError:
        return find_pullable(name) if name in pullable_names() else None
    except EdgeproxyError:
        return None  # whoever looks for the trio itself will say what is wrong with it
    # Some of its files may be here already, by their hash; a pull gets the others.
    roles = recipe.roles.values()
    if any(role.source is None for role in roles) or all(role.path.exists() for role in roles):
        return None
    return read_pullable(name)


def describe(recipe: Recipe) -> dict[str, Any]:
    """Everything that a recipe says."""
    memory = recipe.memory
    return {
        "trio": recipe.name,
        "pulled": False,
        "description": recipe.description,
        "licence": recipe.licence,
        "verified": recipe.verified,
        "memory": {"bytes": memory.bytes, "context": memory.context} if memory else None,
        **asdict(recipe.steering),
        "temperature": recipe.temperature,
        "models": {name: _model(role) for name, role in recipe.roles.items()},
    }


def _model(role: Role) -> dict[str, Any]:
    source = role.source
    return {
        "name": role.file_name,
        "repo": source.repo if source else None,
        "revision": source.revision if source else None,
        "file": source.file if source else None,
        "sha256": role.sha256,
        "size": role.size or role.approximate_size,
        "size_is_exact": role.size is not None,
        "architecture": role.architecture,
        "vocabulary": role.vocabulary,
        "blocks": role.blocks,
        "licence": role.licence,
        "prompt": role.prompt,
    }


def as_text(found: dict[str, Any]) -> list[str]:
    """The same for a person, as lines."""
    from edgeproxy.units import in_units

    models = found["models"]
    rows = [("role", "architecture", "blocks", "vocabulary", "size", "prompt", "licence")]
    for role, model in models.items():
        rows.append(
            (
                role.replace("_", "-"),
                model["architecture"] or "",
                _number(model["blocks"]),
                _number(model["vocabulary"]),
                _size(model),
                model["prompt"],
                model["licence"],
            )
        )
    lines = [
        f"{found['trio']}: not pulled yet; get it: edgeproxy pull {found['trio']}",
        *([found["description"]] if found["description"] else []),
        "",
        *columns(rows),
        "",
    ]
    for role, model in models.items():
        of = f"{model['repo']} at {model['revision']}"
        lines.append(f"{role.replace('_', '-') + ' file':<18} {model['file']} of {of}")
    sizes = [model["size"] for model in models.values()]
    download = f"about {in_units(sum(sizes))}" if all(sizes) else "its size is not known"
    verified = "yes" if found["verified"] else "no: nobody has pulled these very files yet"
    memory = found["memory"]
    return [
        *lines,
        f"{'download':<18} {download}",
        f"{'memory':<18} about {in_units(memory['bytes'])} with a context of "
        f"{memory['context']:,} tokens",
        f"{'verified':<18} {verified}",
        f"{'alpha':<18} {found['alpha']:g}",
        f"{'base weight':<18} {found['base_weight']:g}",
        f"{'plausibility':<18} {found['plausibility']:g}",
        f"{'temperature':<18} {found['temperature']:g}",
        f"{'licence':<18} {found['licence']}",
    ]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size(model: dict[str, Any]) -> str:
    from edgeproxy.units import in_units

    if model["size"] is None:
        return "unknown"
    return ("" if model["size_is_exact"] else "about ") + in_units(model["size"])
