"""Whether a file that was pulled is the model that the recipe speaks of, and three make a trio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeproxy.errors import HubError, ModelFileError
from edgeproxy.gguf import Header, read
from edgeproxy.trios import fitting
from edgeproxy.trios.manifest import Recipe, Role


def check_file(role: Role, path: Path) -> Header:
    """The validated header of what was pulled for `role`, which is at `path`.

    Raises `HubError` for a damaged file, and for one that holds another model than the recipe says:
    hubs hold such files.
    """
    try:
        header = read(path)
    except ModelFileError as error:
        raise HubError(f"{role.file_name}: the hub's file is damaged: {error.what}") from None
    for what, has, wanted in (
        ("architecture", header.architecture, role.architecture),
        ("vocabulary", len(header.metadata["tokenizer.ggml.tokens"]), role.vocabulary),
        ("blocks", header.integer(f"{header.architecture}.block_count"), role.blocks),
    ):
        if wanted is not None and has != wanted:
            raise HubError(
                f"{role.file_name}: the hub's file holds another model: {what} is {has}, and "
                f"should be {wanted}; nothing was installed"
            )
    return header


def check_trio(recipe: Recipe, headers: Mapping[str, Header]) -> tuple[Recipe, list[str]]:
    """The recipe with all that its files tell, and what a person should know of them.

    Raises as `fitting.check_trio`, and `HubError` for a vocabulary that cannot be spelled.
    """
    try:
        return fitting.check_trio(recipe, headers, _by_name)
    except ModelFileError as error:
        raise HubError(f"{recipe.name}: a file of the hub's is damaged: {error.what}") from None


def _by_name(role: str) -> str:
    return f'--{role.replace("_", "-")}-prompt chatml, or prompt = "chatml" in a recipe'
