"""Which models a session is with: what a history keeps of a trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeproxy.trios.find import Recipe


def hashes(recipe: Recipe) -> dict[str, str]:
    """The sha256 of a trio's models by role, of those that say theirs."""
    found = {}
    for name, role in recipe.loaded.items():
        if role.sha256:
            found[name] = role.sha256
        for lora in role.loras:
            if lora.sha256:
                found[f"{name} + {lora.name}"] = lora.sha256
    return found
