"""`Recipe` -> TOML that reads back as the same recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from edgeproxy.manifest.recipe import Recipe, Role


def to_toml(recipe: Recipe) -> str:
    """The manifest of `recipe`: each role's `file` is its path in the hub, or else its name."""
    tables: dict[str, Mapping[str, object]] = {"": _settings(recipe)}
    tables |= {name: _role(role) for name, role in recipe.files.items()}
    return "\n".join("".join(_table(name, content)) for name, content in tables.items())


def _settings(recipe: Recipe) -> dict[str, object]:
    memory = recipe.memory
    return {
        "name": recipe.name,
        "description": recipe.description,
        "licence": recipe.licence,
        "verified": recipe.verified,
        "memory": {"bytes": memory.bytes, "context": memory.context} if memory else None,
        "alpha": recipe.alpha,
        "plausibility": recipe.plausibility,
        "temperature": recipe.temperature,
    }


def _role(role: Role) -> dict[str, object]:
    source = role.source
    return {
        "repo": source.repo if source else None,
        "revision": source.revision if source else None,
        "file": source.file if source else role.name,
        "sha256": role.sha256,
        "size": role.size,
        "approximate_size": role.approximate_size,
        "architecture": role.architecture,
        "vocabulary": role.vocabulary,
        "blocks": role.blocks,
        "licence": role.licence,
        "prompt": role.prompt,
    }


def _table(name: str, content: Mapping[str, object]) -> Iterator[str]:
    if name:
        yield f"[{name}]\n"
    for key, value in content.items():
        if value is not None and value != "":
            yield f"{key} = {_value(value)}\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    # JSON's strings, whole numbers and bools are TOML's too, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
