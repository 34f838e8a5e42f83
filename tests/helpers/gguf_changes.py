"""Changes of a sound GGUF file, for tests of what is read and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import read
from tests.helpers.gguf_files import Draft, sentencepiece_vocabulary

NAN, INFINITY = float("nan"), float("inf")
TOKENS = "tokenizer.ggml.tokens"
KINDS = "tokenizer.ggml.token_type"
MERGES = "tokenizer.ggml.merges"

Change = Callable[[Draft], None]
"""Changes a file that is not written yet."""


def refusal(path: Path, **options: bool) -> str:
    """What the validator says about a file that it must refuse."""
    with pytest.raises(ModelFileError) as caught:
        read(path, **options)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    return caught.value.what


def sentencepiece(made: Draft) -> Draft:
    """The same model with a SentencePiece vocabulary of the same size."""
    kept = {k: v for k, v in made.metadata.items() if not k.startswith("tokenizer.")}
    made.metadata = kept | sentencepiece_vocabulary()
    return made


def omit(*keys: str) -> Change:
    """Take out metadata, or tensors."""

    def change(made: Draft) -> None:
        for key in keys:
            (made.metadata if key in made.metadata else made.tensors).pop(key)

    return change


def put(**values: Any) -> Change:
    """Set metadata; `__` in a name stands for a dot."""

    def change(made: Draft) -> None:
        made.metadata |= {key.replace("__", "."): value for key, value in values.items()}

    return change


def shape(name: str, *lengths: int, kind: int = 0) -> Change:
    """Put in a tensor of this shape and type."""

    def change(made: Draft) -> None:
        made.tensors[name] = (lengths, kind)

    return change


def item(key: str, index: int, value: Any) -> Change:
    """Set one item of an array."""

    def change(made: Draft) -> None:
        made.metadata[key] = [*made.metadata[key]]
        made.metadata[key][index] = value

    return change


def both(*changes: Change) -> Change:
    """All of them, in turn."""

    def change(made: Draft) -> None:
        for each in changes:
            each(made)

    return change


def experts(count: int, used: int, **more: int) -> Change:
    """Make it a mixture of experts."""

    def change(made: Draft) -> None:
        made.metadata |= {"llama.expert_count": count, "llama.expert_used_count": used}
        made.metadata |= {f"llama.expert_{key}": value for key, value in more.items()}
        for block in range(2):
            prefix = f"blk.{block}.ffn_"
            for name in ("gate", "up", "down"):
                lengths, kind = made.tensors.pop(f"{prefix}{name}.weight")
                made.tensors[f"{prefix}{name}_exps.weight"] = ((*lengths, max(1, count)), kind)
            made.tensors[f"{prefix}gate_inp.weight"] = ((32, max(1, count)), 0)

    return change


def fused(made: Draft) -> None:
    """One tensor for queries, keys and values."""
    for block in range(2):
        for name in "qkv":
            del made.tensors[f"blk.{block}.attn_{name}.weight"]
        made.tensors[f"blk.{block}.attn_qkv.weight"] = ((32, 64), 0)


def with_alignment(alignment: int) -> Change:
    """Align its data otherwise, and say so."""

    def change(made: Draft) -> None:
        made.alignment = alignment
        made.metadata["general.alignment"] = alignment

    return change
