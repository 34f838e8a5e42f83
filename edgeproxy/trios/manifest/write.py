"""`Recipe` -> TOML that reads back as the same recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.trios.manifest.fitted import as_table
from edgeproxy.trios.manifest.recipe import Documents, Lora, Recipe, Role


def to_toml(recipe: Recipe) -> str:
    """The manifest of `recipe`: each role's `file` is its path in the hub, or else its name."""
    tables: dict[str, Mapping[str, object]] = {"": _settings(recipe)}
    tables |= {name: _role(role) for name, role in recipe.roles.items()}
    if recipe.tuned:
        tables["tuned"] = _role(recipe.tuned)
    if recipe.documents:
        tables["documents"] = documents_table(recipe.documents)
    if recipe.fitted:
        tables["fitted"] = as_table(recipe.fitted)
    written = ["".join(_table(f"[{name}]" if name else "", of)) for name, of in tables.items()]
    several = recipe.expert.loras if len(recipe.expert.loras) > 1 else ()
    written += ["".join(_table("[[experts]]", _lora(lora, "weight"))) for lora in several]
    return "\n".join(written)


def documents_table(documents: Documents) -> dict[str, object]:
    """The table `[documents]`."""
    table: dict[str, object] = asdict(documents)
    system = table.pop("system")
    return {**table, "system": list(documents.system)} if system else table


def _settings(recipe: Recipe) -> dict[str, object]:
    memory, steering = recipe.memory, recipe.steering
    return {
        "name": recipe.name,
        "description": recipe.description,
        "licence": recipe.licence,
        "verified": recipe.verified,
        "memory": {"bytes": memory.bytes, "context": memory.context} if memory else None,
        "alpha": steering.alpha,
        # Left out where it is the paper's, which manifests of earlier versions say no more of.
        "base_weight": None if steering.base_weight == 1.0 else steering.base_weight,
        "plausibility": steering.plausibility,
        "expert_ends": steering.expert_ends or None,
        "temperature": recipe.temperature,
    }


def _role(role: Role) -> dict[str, object]:
    if len(role.loras) == 1:
        return {"lora": _lora(role.loras[0], "scale"), "prompt": role.prompt}
    if role.loras:  # they have tables of their own
        return {"prompt": role.prompt}
    file = _file(role) if role.endpoint is None else _server(role, role.endpoint)
    return file | {
        "architecture": role.architecture,
        "vocabulary": role.vocabulary,
        "blocks": role.blocks,
        "prompt": role.prompt,
        "template": role.template,
    }


def _server(role: Role, endpoint: Endpoint) -> dict[str, object]:
    """A server, and the file of its tokenizer in the place of the model's."""
    file = _file(role)
    return {
        "url": endpoint.url,
        "model": endpoint.model,
        "protocol": endpoint.protocol,
        "way": endpoint.way,
        "logprobs": endpoint.logprobs,
        "context": endpoint.context,
        "timeout": None if endpoint.timeout == 60.0 else endpoint.timeout,
        "key_env": endpoint.key_of_manifests,
        "price_in": endpoint.price_in or None,
        "price_out": endpoint.price_out or None,
        "tokenizer": file.pop("file"),
        **file,
    }


def _lora(lora: Lora, weight: str) -> dict[str, object]:
    """An adapter, and how much of it, under the key `weight`."""
    return _file(lora) | {
        weight: lora.scale if lora.scale != 1.0 else None,
        "name": lora.name if lora.name != lora.usual_name else None,
    }


def _file(of: Role | Lora) -> dict[str, object]:
    source = of.source
    return {
        "repo": source.repo if source else None,
        "revision": source.revision if source else None,
        "file": source.file if source else of.file_name,
        "sha256": of.sha256,
        "size": of.size,
        "approximate_size": of.approximate_size,
        "licence": of.licence,
    }


def _table(heading: str, content: Mapping[str, object]) -> Iterator[str]:
    if heading:
        yield f"{heading}\n"
    for key, value in _given(content):
        yield f"{key} = {to_value(value)}\n"


def _given(content: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    return ((key, value) for key, value in content.items() if value is not None and value != "")


def to_value(value: object) -> str:
    """A value as TOML on one line: a table, a list, text, a number or a bool."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {to_value(item)}" for key, item in _given(value))
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_value, value))}]"
    # JSON's strings, whole numbers and bools are TOML's too, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
