"""Whether three model files make a trio, told from their headers: as loading them would find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from edgeproxy.align import check_common, doubts, match
from edgeproxy.core.vocab import Vocab, from_header
from edgeproxy.errors import UsageError, VocabularyError
from edgeproxy.gguf import Header
from edgeproxy.prompts.formats import FILE_OR_PLAIN, FROM_FILE, template_hash, try_format
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.trios.manifest import Recipe, Role

ByName = Callable[[str], str]
"""A role's manifest name -> how another prompt format is named for it, for a message."""


def check_trio(
    recipe: Recipe, headers: Mapping[str, Header], by_name: ByName
) -> tuple[Recipe, list[str]]:
    """The recipe with all that its files tell, and what a person should know of them.

    `headers` are the validated ones of each role's file. Raises `VocabularyError` for a pair that
    cannot steer the base, `UsageError` for a prompt format that its model cannot read or a chat
    template that fails, and `ModelFileError` for a vocabulary that cannot be spelled.
    """
    vocabs = {name: from_header(header) for name, header in headers.items()}
    base = vocabs["base"]
    matches = match(base, vocabs["expert"]), match(base, vocabs["anti_expert"])
    try:
        check_common(matches)
    except VocabularyError as error:
        raise VocabularyError(f"{recipe.name}: {error}; nothing was installed") from None
    with Renderer() as renderer:
        roles = {
            name: _completed(role, headers[name], vocabs[name], renderer, by_name(name))
            for name, role in recipe.roles.items()
        }
    changed = [
        said
        for name, role in recipe.roles.items()
        for said in template_doubts(name, role, vocabs[name])
    ]
    return recipe.with_roles(roles), [*doubts(base, matches), *changed]


def template_doubts(name: str, role: Role, vocab: Vocab) -> list[str]:
    """What a person should know of the chat template that the role called `name` reads.

    That is, that the one in its file is another one than its manifest says, if it is.
    """
    now = template_hash(vocab)
    if role.template in (None, now) or role.prompt != FROM_FILE:
        return []
    return [
        f"the chat template in {role.file_name} has the sha256 {now}, and that of the trio's maker "
        f"had {role.template}: the {name.replace('_', '-')} may read conversations otherwise than "
        "it did there"
    ]


def _completed(role: Role, header: Header, vocab: Vocab, renderer: Renderer, by_name: str) -> Role:
    prompt = role.prompt
    if prompt == FILE_OR_PLAIN:
        prompt = FROM_FILE if vocab.chat_template else "plain"
    try:
        try_format(prompt, vocab, role.file_name, renderer, by_name)
    except UsageError as error:
        raise UsageError(f"{error}; nothing was installed") from None
    return replace(
        role,
        prompt=prompt,
        template=template_hash(vocab),
        size=header.file_size,
        approximate_size=None,
        architecture=header.architecture,
        vocabulary=len(vocab),
        blocks=header.integer(f"{header.architecture}.block_count"),
    )
