"""What names a tokenizer: all that its answers follow from, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproxy.llama import Weights
from tests.helpers.gguf_files import byte_level_vocabulary, draft, sentencepiece_vocabulary

TYPES = "tokenizer.ggml.token_type"
CONTROL, USER_DEFINED = 3, 4
MARKED = [USER_DEFINED, *byte_level_vocabulary()[TYPES][1:]]
BYTE_LEVEL = byte_level_vocabulary() | {TYPES: MARKED}
PIECES = sentencepiece_vocabulary()
PIECES["tokenizer.ggml.tokens"][-1] = "<|endoftext|>"
PIECES[TYPES][-1] = CONTROL
SCORES = PIECES["tokenizer.ggml.scores"]


def fingerprint(folder: Path, *changes: dict[str, Any]) -> str:
    made = draft("llama")
    for change in changes:
        made.metadata |= change
    with Weights(made.write(folder / "model.gguf"), vocab_only=True) as weights:
        return weights.vocab.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.merges": byte_level_vocabulary()["tokenizer.ggml.merges"][::-1]},
        {"tokenizer.ggml.pre": "qwen2"},
        {"tokenizer.ggml.tokens": ["<|end|>", *BYTE_LEVEL["tokenizer.ggml.tokens"][1:]]},
        {TYPES: [CONTROL, *MARKED[1:]]},
        {"tokenizer.ggml.add_space_prefix": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_answers_changes_the_name(tmp_path: Path, change: dict[str, Any]) -> None:
    assert fingerprint(tmp_path, BYTE_LEVEL) != fingerprint(tmp_path, BYTE_LEVEL, change)


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.scores": [score - 1.0 for score in SCORES]},
        {"tokenizer.ggml.add_space_prefix": False},
        {"tokenizer.ggml.remove_extra_whitespaces": True},
        # llama.cpp has the special tokens of files with this name swallow the spaces after them.
        {"general.name": "Phi-3 mini"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_so_does_what_changes_pieces(tmp_path: Path, change: dict[str, Any]) -> None:
    assert fingerprint(tmp_path, PIECES) != fingerprint(tmp_path, PIECES, change)


@pytest.mark.parametrize(
    "change",
    [
        {"general.name": "another's model"},
        {"tokenizer.chat_template": "{{ messages }}"},
        {"tokenizer.ggml.eos_token_id": 2},
        {"tokenizer.ggml.bos_token_id": 1},
        {"tokenizer.ggml.add_bos_token": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_around_a_text_does_not(tmp_path: Path, change: dict[str, Any]) -> None:
    """The tuned and the untuned file of a pair share their alignment."""
    assert fingerprint(tmp_path, BYTE_LEVEL) == fingerprint(tmp_path, BYTE_LEVEL, change)


def test_another_llama_cpp_is_another_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tmp_path)
    monkeypatch.setattr("edgeproxy.llama.weights.build", lambda: "a later one")
    assert fingerprint(tmp_path) != before
