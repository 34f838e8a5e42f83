"""The GGUF validator: sound files read, of every architecture and of one that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_size_t
from pathlib import Path
from typing import Any

import pytest
from llama_cpp._ggml import libggml

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import TENSOR_TYPES, read
from tests.helpers.gguf_changes import (
    KINDS,
    NAN,
    TOKENS,
    Change,
    both,
    experts,
    fused,
    item,
    omit,
    put,
    refusal,
    sentencepiece,
    shape,
    with_alignment,
)
from tests.helpers.gguf_files import ARCHITECTURES, Draft, draft


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("vocabulary", [lambda made: made, sentencepiece])
def test_a_sound_model_reads(
    architecture: str, vocabulary: Callable[[Draft], Draft], tmp_path: Path
) -> None:
    made = vocabulary(draft(architecture))
    header = read(made.write(tmp_path / "model.gguf"))
    assert header.architecture == architecture
    assert header.version == 3
    assert len(header.metadata[TOKENS]) == 268
    assert {t.name: t.shape for t in header.tensors} == {k: v[0] for k, v in made.tensors.items()}
    assert header.data_offset == len(made.header())
    assert header.file_size == (tmp_path / "model.gguf").stat().st_size


@pytest.mark.parametrize("kind", [t for t in TENSOR_TYPES.values() if t.is_weight])
def test_weights_may_have_every_type_that_llama_cpp_multiplies_by(
    kind: Any, tmp_path: Path
) -> None:
    made = draft(width=256, weights=kind.id)
    header = read(made.write(tmp_path / "model.gguf"))
    assert header.tensors[0].type.name == kind.name


def test_the_table_of_types_is_that_of_llama_cpp() -> None:
    libggml.ggml_type_size.restype = libggml.ggml_blck_size.restype = c_size_t
    for number in range(43):
        block, size = libggml.ggml_blck_size(number), libggml.ggml_type_size(number)
        known = TENSOR_TYPES.get(number)
        assert (known.block, known.size) == (block, size) if known else block == 0


SOUND: dict[str, Change] = {
    "version 2": lambda made: setattr(made, "version", 2),
    "alignment of 64": with_alignment(64),
    "tied embeddings": omit("output.weight"),
    "no rope factors": omit("rope_freqs.weight"),
    "long rope": both(
        omit("rope_freqs.weight"),
        put(llama__rope__scaling__type="longrope"),
        shape("rope_factors_long.weight", 4),
        shape("rope_factors_short.weight", 4),
    ),
    "attention bias": both(shape("blk.0.attn_q.bias", 32), shape("blk.1.attn_output.bias", 32)),
    "fused attention": fused,
    "experts": experts(4, 2),
    "groups of experts": experts(4, 2, group_count=2, group_used_count=1),
    "wide heads": both(
        put(
            llama__attention__key_length=16,
            llama__attention__value_length=16,
            llama__rope__dimension_count=16,
        ),
        shape("rope_freqs.weight", 8),
        *(shape(f"blk.{n}.attn_q.weight", 32, 64) for n in range(2)),
        *(shape(f"blk.{n}.attn_{k}.weight", 32, 32) for n in range(2) for k in "kv"),
        *(shape(f"blk.{n}.attn_output.weight", 64, 32) for n in range(2)),
    ),
    "no rope keys": omit("llama.rope.freq_base", "llama.rope.dimension_count"),
    "no pre-tokenizer (files of 2023)": omit("tokenizer.ggml.pre"),
    "no kinds of tokens": omit(KINDS),
    "one empty token": item(TOKENS, 9, ""),
    "unknown keys": put(my__tool__note="x", llama__a_new_parameter=3, tokenizer__ggml__new=[1, 2]),
    "control characters in a name": put(general__name="\x1b[2J"),
}


@pytest.mark.parametrize("name", SOUND)
def test_an_unusual_but_sound_model_reads(name: str, tmp_path: Path) -> None:
    made = draft()
    SOUND[name](made)
    read(made.write(tmp_path / "model.gguf"))


def test_an_unknown_architecture_gets_the_generic_checks(tmp_path: Path) -> None:
    made = other_architecture()
    assert read(made.write(tmp_path / "model.gguf")).architecture == "olmo2"


def other_architecture() -> Draft:
    made = draft("llama")
    made.metadata = {k.replace("llama.", "olmo2."): v for k, v in made.metadata.items()}
    made.metadata["general.architecture"] = "olmo2"
    made.tensors["blk.0.something_new.weight"] = ((32, 32), 0)
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(olmo2__block_count=1), "blk.1.attn_norm.weight is beyond the 1 blocks"),
        (put(olmo2__block_count=513), "olmo2.block_count is 513"),
        (omit("token_embd.weight"), "lacks the tensor token_embd.weight"),
        (shape("token_embd.weight", 32, 267), "its embedding has the shape (32, 267)"),
        (shape("blk.0.something_new.weight", 32, 32, kind=26), "the unusable type i32"),
        (put(olmo2__attention__layer_norm_rms_epsilon=NAN), "not a finite number"),
        (put(olmo2__attention__head_count_kv=3), "4 heads cannot share 3"),
        (put(olmo2__rope__dimension_count=7), "dimension_count is 7 for heads of 8"),
        (put(olmo2__rope__dimension_count=10), "dimension_count is 10 for heads of 8"),
    ],
)
def test_the_generic_checks_refuse(change: Change, said: str, tmp_path: Path) -> None:
    made = other_architecture()
    change(made)
    assert said in refusal(made.write(tmp_path / "model.gguf"))


@pytest.mark.slow
def test_real_vocabularies_read(vocabs: Path) -> None:
    sizes = {
        "gpt-2": 50257,
        "llama-bpe": 128256,
        "llama-spm": 32000,
        "phi-3": 32064,
        "qwen2": 151936,
        "starcoder": 49152,
    }
    for name, size in sizes.items():
        header = read(vocabs / f"ggml-vocab-{name}.gguf", vocab_only=True)
        assert len(header.metadata[TOKENS]) == size
        assert header.tensors == ()


def test_a_vocabulary_is_not_a_model(tmp_path: Path) -> None:
    made = draft()
    made.tensors.clear()
    path = made.write(tmp_path / "vocab.gguf")
    assert read(path, vocab_only=True).tensors == ()
    assert refusal(path) == "it holds a vocabulary but no weights; use the model's own file"


def test_getters_name_the_key(tmp_path: Path) -> None:
    header = read(draft().write(tmp_path / "model.gguf"))
    assert header.integer("llama.block_count") == 2
    assert header.number("llama.rope.freq_base") == 10000.0
    assert header.integer("llama.expert_count", 0) == 0
    assert header.text("tokenizer.ggml.pre") == "gpt-2"
    assert header.flag("tokenizer.ggml.add_bos_token") is False
    assert header.array(KINDS, int)[:4] == (3, 3, 3, 1)
    with pytest.raises(ModelFileError, match=r"lacks llama\.expert_count"):
        header.integer("llama.expert_count")
    with pytest.raises(ModelFileError, match=r"tokenizer\.ggml\.pre is not a whole number"):
        header.integer("tokenizer.ggml.pre")
    with pytest.raises(TypeError):
        header.metadata["llama.block_count"] = 3  # type: ignore[index]
