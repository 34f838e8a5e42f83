"""What each model of a trio reads of a conversation: the very tokens, the special ones marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from edgeproxy.cli.ui.output import clean
from edgeproxy.core.vocab import Vocab
from edgeproxy.gguf import read
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import (
    FILE_OR_PLAIN,
    FROM_FILE,
    Message,
    encode,
    make_format,
    template_hash,
)
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.trios.find import Recipe, Role
from edgeproxy.trios.fitting import template_doubts
from edgeproxy.trios.missing import check_here

OPENS, CLOSES = "\u27e6", "\u27e7"
"""The brackets around a special token, which no prompt is likely to hold."""


def prompts_read(recipe: Recipe, messages: Sequence[Message]) -> dict[str, Any]:
    """For each role: `format`, `template` (sha256; None where another format is read), `tokens`.

    A token has `id`, `text` and `special`. Only vocabularies are read, and no documents. Raises as
    loading the trio does.
    """
    found = {}
    with Renderer() as renderer:
        for name, role in recipe.roles.items():
            check_here(role)
            read(role.path, vocab_only=True)
            with Weights(role.path, vocab_only=True) as weights:
                found[name] = _read_by(name, role, weights.vocab, messages, renderer)
    return found


def _read_by(
    name: str, role: Role, vocab: Vocab, messages: Sequence[Message], renderer: Renderer
) -> dict[str, Any]:
    chosen = role.prompt
    if chosen == FILE_OR_PLAIN:
        chosen = FROM_FILE if vocab.chat_template else "plain"
    tokens = encode(make_format(chosen, vocab, str(role.path), renderer)(messages), vocab)
    return {
        "format": chosen,
        "template": template_hash(vocab) if chosen == FROM_FILE else None,
        "doubts": template_doubts(name, role, vocab),
        "tokens": [
            {
                "id": token,
                "text": vocab.tokens[token].decode(errors="replace"),
                "special": not vocab.texts[token],
            }
            for token in tokens
        ],
        "text": "".join(_marked(vocab, tokens)),
    }


def _marked(vocab: Vocab, tokens: Sequence[int]) -> Iterator[str]:
    """The prompt's text, each special token in brackets."""
    for is_text, group in groupby(tokens, lambda token: bool(vocab.texts[token])):
        parts = [vocab.tokens[token] for token in group]
        if is_text:  # a character may be of several tokens
            yield b"".join(parts).decode(errors="replace")
        else:
            yield "".join(f"{OPENS}{part.decode(errors='replace')}{CLOSES}" for part in parts)


def as_text(found: dict[str, Any]) -> list[str]:
    """The prompts for a person, one role after another."""
    lines: list[str] = []
    for name, of in found.items():
        template = f" {of['template'][:12]}" if of["template"] else ""
        count = f"{len(of['tokens']):,} tokens"
        lines.append(f"{name.replace('_', '-')} reads {of['format']}{template}, {count}:")
        lines += [f"  {line}" for line in clean(of["text"]).split("\n")]
        lines += [f"  warning: {doubt}" for doubt in of["doubts"]]
    return lines
