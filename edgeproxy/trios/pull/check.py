"""Whether a file that was pulled is the model that the recipe speaks of, and three make a trio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeproxy.align import check_common, doubts, match
from edgeproxy.core.vocab import Vocab, from_header
from edgeproxy.errors import HubError, ModelFileError, UsageError, VocabularyError
from edgeproxy.gguf import Header, read
from edgeproxy.prompts.formats import FILE_OR_PLAIN, FROM_FILE, try_format
from edgeproxy.prompts.renderer import Renderer
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
                f"{role.file_name}: the hub's file holds another model: {what} is {has}, and should be "
                f"{wanted}; nothing was installed"
            )
    return header


def check_trio(recipe: Recipe, headers: Mapping[str, Header]) -> tuple[Recipe, list[str]]:
    """The recipe with all that its files tell, and what a person should know of them.

    Raises `VocabularyError` for a pair that cannot steer the base, `UsageError` for a prompt format
    that its model cannot read or a chat template that fails, and `HubError` for a vocabulary that
    cannot be spelled.
    """
    try:
        vocabs = {name: from_header(header) for name, header in headers.items()}
    except ModelFileError as error:
        raise HubError(f"{recipe.name}: a file of the hub's is damaged: {error.what}") from None
    base = vocabs["base"]
    matches = match(base, vocabs["expert"]), match(base, vocabs["anti_expert"])
    try:
        check_common(matches)
    except VocabularyError as error:
        raise VocabularyError(f"{recipe.name}: {error}; nothing was installed") from None
    with Renderer() as renderer:
        roles = {
            name: _completed(name, role, headers[name], vocabs[name], renderer)
            for name, role in recipe.roles.items()
        }
    return recipe.with_roles(roles), doubts(base, matches)


def _completed(name: str, role: Role, header: Header, vocab: Vocab, renderer: Renderer) -> Role:
    prompt = role.prompt
    if prompt == FILE_OR_PLAIN:
        prompt = FROM_FILE if vocab.chat_template else "plain"
    try:
        by_name = f'--{name.replace("_", "-")}-prompt chatml, or prompt = "chatml" in a recipe'
        try_format(prompt, vocab, role.file_name, renderer, by_name)
    except UsageError as error:
        raise UsageError(f"{error}; nothing was installed") from None
    return replace(
        role,
        prompt=prompt,
        size=header.file_size,
        approximate_size=None,
        architecture=header.architecture,
        vocabulary=len(vocab),
        blocks=header.integer(f"{header.architecture}.block_count"),
    )
