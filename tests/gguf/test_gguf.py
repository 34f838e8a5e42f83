"""The GGUF validator: sound files read, every known way to be unsound is refused in a sentence."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import tracemalloc
from collections.abc import Callable
from ctypes import c_size_t
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp._ggml import libggml

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import TENSOR_TYPES, open_model, read
from edgeproxy.gguf.parse import MAX_HEADER
from tests.helpers.gguf_files import ARCHITECTURES, Draft, Raw, draft, sentencepiece_vocabulary

NAN, INFINITY = float("nan"), float("inf")
TOKENS = "tokenizer.ggml.tokens"
KINDS = "tokenizer.ggml.token_type"
MERGES = "tokenizer.ggml.merges"
Change = Callable[[Draft], None]


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


# Sound files


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


def omit(*keys: str) -> Change:
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
    def change(made: Draft) -> None:
        made.tensors[name] = (lengths, kind)

    return change


def item(key: str, index: int, value: Any) -> Change:
    def change(made: Draft) -> None:
        made.metadata[key] = [*made.metadata[key]]
        made.metadata[key][index] = value

    return change


def both(*changes: Change) -> Change:
    def change(made: Draft) -> None:
        for each in changes:
            each(made)

    return change


def experts(count: int, used: int, **more: int) -> Change:
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
    for block in range(2):
        for name in "qkv":
            del made.tensors[f"blk.{block}.attn_{name}.weight"]
        made.tensors[f"blk.{block}.attn_qkv.weight"] = ((32, 64), 0)


def with_alignment(alignment: int) -> Change:
    def change(made: Draft) -> None:
        made.alignment = alignment
        made.metadata["general.alignment"] = alignment

    return change


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


# What is not a model file at all


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.gguf") == "there is no such file; check the path"


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "it is a directory; name the .gguf file in it"


def test_an_impossible_path() -> None:
    assert "it cannot be opened" in refusal(Path("a\0b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gguf")
    assert "it is a FIFO" in refusal(tmp_path / "fifo.gguf")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this platform has no device files")
def test_a_device() -> None:
    assert "it is a device or a socket" in refusal(Path("/dev/null"))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no such sockets")
def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.gguf")
        assert "it is a device or a socket" in refusal(Path("s.gguf"))


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draft().write(tmp_path / "model.gguf")

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read everything
    assert refusal(path) == "it may not be read; check its permissions"


def test_a_link_to_a_model_is_a_model(tmp_path: Path) -> None:
    draft().write(tmp_path / "model.gguf")
    (tmp_path / "link.gguf").symlink_to("model.gguf")
    with open_model(tmp_path / "link.gguf") as file:
        file.check_unchanged()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty; download or copy the file again"),
        (b"GG", "it is not a GGUF file; use a file in GGUF format"),
        (b"Dear model,\n", "it is not a GGUF file"),
        (b"<!DOCTYPE html>" * 99, "it is not a GGUF file"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is a big-endian GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it has GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "it has GGUF version 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "it has GGUF version 0"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors, more than"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "keys, more than"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "its header lacks general.architecture"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "a key in its header is 11529"),
    ],
)
def test_other_contents(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    assert said in refusal(tmp_path / "model.gguf")


# Headers that contradict themselves. The first group made llama.cpp abort the whole process.

ABORTING: dict[str, tuple[Change, str]] = {
    "no blocks": (put(llama__block_count=0), "llama.block_count is 0"),
    "513 blocks": (put(llama__block_count=513), "llama.block_count is 513"),
    "epsilon negative": (put(llama__attention__layer_norm_rms_epsilon=-1e-5), "epsilon is -9.9"),
    "epsilon NaN": (put(llama__attention__layer_norm_rms_epsilon=NAN), "epsilon is nan"),
    "epsilon infinite": (put(llama__attention__layer_norm_rms_epsilon=INFINITY), "epsilon is inf"),
    "duplicate token": (item(TOKENS, 9, "%"), "the token '%' occurs twice"),
    "two empty tokens": (both(item(TOKENS, 9, ""), item(TOKENS, 8, "[EMPTY_9]")), "occurs twice"),
    "NUL in a token": (item(TOKENS, 9, "a\0b"), "NUL character"),
    "rope scaling unknown": (
        put(llama__rope__scaling__type="lineax"),
        "'lineax', which is unknown",
    ),
    "more experts used than there are": (experts(4, 5), "declares 4 experts of which 5"),
    "no experts used": (experts(4, 0), "declares 4 experts of which 0"),
    "experts used of none": (put(llama__expert_used_count=2), "declares 0 experts of which 2"),
    "too many experts": (experts(513, 2), "declares 513 experts"),
    "uneven groups of experts": (experts(4, 2, group_count=3, group_used_count=1), "in 3 groups"),
    "groups without experts": (put(llama__expert_group_count=2), "in 2 groups"),
    "experts used is text": (put(llama__expert_used_count="two"), "is not a whole number"),
    "tokenizer bert": (put(tokenizer__ggml__model="bert"), "of the kind 'bert'"),
    "tokenizer none": (put(tokenizer__ggml__model="none"), "of the kind 'none'"),
    "tokenizer no_vocab": (put(tokenizer__ggml__model="no_vocab"), "of the kind 'no_vocab'"),
    "tokenizer t5": (put(tokenizer__ggml__model="t5"), "of the kind 't5'"),
    "pre-tokenizer for plain text": (put(tokenizer__ggml__pre="whitespace"), "does not go with"),
    "hardly any tokens": (put(**{TOKENS: ["a"] * 11}), "has only 11 tokens"),
    "tokens predicted ahead": (put(llama__nextn_predict_layers=9), "nextn_predict_layers is 9"),
    "adds a beginning that it lacks": (
        both(omit("tokenizer.ggml.bos_token_id"), put(tokenizer__ggml__add_bos_token=True)),
        "lacks tokenizer.ggml.bos_token_id",
    ),
    "alignment of 8": (with_alignment(8), "general.alignment is 8"),
    "alignment of 48": (put(general__alignment=48), "general.alignment is 48"),
    "alignment of 0": (put(general__alignment=0), "general.alignment is 0"),
    "head partly rotated": (put(llama__rope__dimension_count=4), "dimension_count is 4 for heads"),
    "values unlike keys": (put(llama__attention__value_length=16), "value_length is not its key"),
    "norm of f16": (shape("output_norm.weight", 32, kind=1), "the unusable type f16"),
    "weights of f64": (shape("output.weight", 32, 268, kind=28), "the unusable type f64"),
    "weights of i32": (shape("token_embd.weight", 32, 268, kind=26), "the unusable type i32"),
    "weights of q8_1": (shape("output.weight", 32, 268, kind=9), "the unusable type q8_1"),
    "embedding model": (put(llama__attention__causal=False), "it is an embedding model"),
}

# llama.cpp loads these and answers wrongly, or refuses them in words that no one understands.
WRONG: dict[str, tuple[Change, str]] = {
    "context length of 0": (put(llama__context_length=0), "llama.context_length is 0"),
    "no context length": (omit("llama.context_length"), "lacks llama.context_length"),
    "context length is text": (put(llama__context_length="8k"), "is not a whole number"),
    "context length is an array": (put(llama__context_length=[1, 2]), "is not a whole number"),
    "vocabulary size lies": (put(llama__vocab_size=300), "vocab_size is 300, but it has 268"),
    "end out of range": (put(tokenizer__ggml__eos_token_id=268), "eos_token_id is 268"),
    "beginning out of range": (
        put(tokenizer__ggml__bos_token_id=2**32 - 1),
        "bos_token_id is 4294",
    ),
    "padding out of range": (put(tokenizer__ggml__padding_token_id=999), "padding_token_id is 999"),
    "negative id": (put(tokenizer__ggml__eot_token_id=Raw(5, b"\xff" * 4)), "token_id is -1"),
    "no end": (omit("tokenizer.ggml.eos_token_id"), "lacks tokenizer.ggml.eos_token_id"),
    "suppressed out of range": (put(tokenizer__ggml__suppress_tokens=[1, 268]), "suppress_tokens"),
    "fewer kinds than tokens": (put(**{KINDS: [1] * 267}), "has 267 items for 268"),
    "unknown kind": (item(KINDS, 5, 7), "the unknown kind 7"),
    "byte that names none": (item(KINDS, 5, 6), "is marked as a byte, but names none"),
    "scores too short": (put(tokenizer__ggml__scores=[0.0] * 5), "has 5 items for 268"),
    "scores not finite": (put(tokenizer__ggml__scores=[NAN] * 268), "is not finite"),
    "no merges": (omit(MERGES), "lacks tokenizer.ggml.merges"),
    "merge without a gap": (item(MERGES, 3, "the"), "merge 3, 'the',"),
    "merge with nothing before": (item(MERGES, 3, " the"), "merge 3, ' the',"),
    "merge of three": (item(MERGES, 3, "t h e"), "merge 3, 't h e',"),
    "merge to no token": (item(MERGES, 3, "x y"), "merge 3, 'x y',"),
    "one merge in two": (both(item(MERGES, 3, "t h e"), item(MERGES, 4, "the")), "merge 3"),
    "no tokens": (put(**{TOKENS: Raw(9, struct.pack("<IQ", 8, 0))}), "only 0 tokens"),
    "tokens are numbers": (put(**{TOKENS: [1, 2, 3]}), "is not an array of str"),
    "very long token": (item(TOKENS, 9, "x" * 8193), "longer than 8192"),
    "nested array": (put(x__y=Raw(9, struct.pack("<IQ", 9, 1))), "array of arrays"),
    "unknown value type": (put(x__y=Raw(13, b"")), "x.y has the unknown type 13"),
    "unknown item type": (put(x__y=Raw(9, struct.pack("<IQ", 13, 1))), "unknown type 13"),
    "half-true flag": (put(tokenizer__ggml__add_bos_token=Raw(7, b"\2")), "neither true nor false"),
    "array too long": (put(x__y=Raw(9, struct.pack("<IQ", 4, 2**40))), "declares 1099511627776"),
    "strings too many": (put(x__y=Raw(9, struct.pack("<IQ", 8, 2**21))), "than the file can hold"),
    "string too long": (put(x__y=Raw(8, struct.pack("<Q", 2**63))), "x.y in its header is 92233"),
    "string not UTF-8": (put(x__y=Raw(8, struct.pack("<Q", 1) + b"\xff")), "not valid UTF-8"),
    "token not UTF-8": (
        put(**{TOKENS: Raw(9, struct.pack("<IQQ", 8, 1, 2) + b"\xc3\x28")}),
        "has a string, number 0, that is not valid UTF-8",
    ),
    "surrogate in a token": (
        put(**{TOKENS: Raw(9, struct.pack("<IQQ", 8, 1, 3) + b"\xed\xa0\x80")}),
        "not valid UTF-8",
    ),
    "malformed key": (put(**{"a key": 1}), "the malformed key 'a key'"),
    "empty key": (put(**{"": 1}), "the malformed key ''"),
    "very long key": (put(**{"k" * 257: 1}), "a key in its header is 257 bytes long"),
    "damaged key": (put(llama__rope__frfq_base=5e5), "looks like a damaged llama.rope.freq_base"),
    "no architecture": (omit("general.architecture"), "lacks general.architecture"),
    "architecture malformed": (put(general__architecture="ll/ama"), "which is no name"),
    "another architecture": (put(general__architecture="llamb"), "a damaged llamb."),
    "an adapter": (put(general__type="adapter"), "it holds 'adapter', not a model"),
    "a part": (put(split__count=Raw(2, b"\3\0"), split__no=0), "one of 3 parts; merge them with"),
    "no heads": (put(llama__attention__head_count=0), "head_count is 0"),
    "heads lacking": (omit("llama.attention.head_count"), "lacks llama.attention.head_count"),
    "heads do not divide": (put(llama__attention__head_count=5), "5 heads do not divide"),
    "heads cannot share": (put(llama__attention__head_count_kv=3), "4 heads cannot share 3"),
    "more shared than heads": (put(llama__attention__head_count_kv=8), "4 heads cannot share 8"),
    "no width": (put(llama__embedding_length=0), "embedding_length is 0"),
    "huge width": (put(llama__embedding_length=2**31), "embedding_length is 2147483648"),
    "another width": (
        both(put(llama__embedding_length=64), omit("llama.rope.dimension_count")),
        "the shape (32, 268), not (64, 268)",
    ),
    "no feed-forward": (put(llama__feed_forward_length=0), "feed_forward_length is 0"),
    "another feed-forward": (
        put(llama__feed_forward_length=63),
        "the tensor blk.0.ffn_gate.weight",
    ),
    "epsilon of 0": (put(llama__attention__layer_norm_rms_epsilon=0.0), "epsilon is 0.0"),
    "epsilon of 1": (put(llama__attention__layer_norm_rms_epsilon=1.0), "epsilon is 1.0"),
    "epsilon of another norm": (
        both(
            omit("llama.attention.layer_norm_rms_epsilon"),
            put(llama__attention__layer_norm_epsilon=1e-5),
        ),
        "lacks llama.attention.layer_norm_rms_epsilon",
    ),
    "rope base of 0": (put(llama__rope__freq_base=0.0), "freq_base is 0.0"),
    "rope base infinite": (put(llama__rope__freq_base=INFINITY), "freq_base is inf"),
    "rope factor negative": (put(llama__rope__scaling__factor=-4.0), "factor is -4.0"),
    "rope factor of 0": (put(llama__rope__scaling__factor=0.0), "factor is 0.0"),
    "original context of 0": (
        put(llama__rope__scaling__original_context_length=0),
        "original_context_length is 0",
    ),
    "odd rope dimensions": (put(llama__rope__dimension_count=7), "dimension_count is 7"),
    "some other NaN": (put(llama__attention__scale=NAN), "llama.attention.scale is nan"),
    "pooled": (put(llama__pooling_type=1), "llama.pooling_type is 1"),
    "another output width": (put(llama__embedding_length_out=16), "embedding_length_out"),
    "more blocks than there are": (put(llama__block_count=3), "lacks the tensor blk.2.attn_norm"),
    "fewer blocks than there are": (put(llama__block_count=1), "have no tensor blk.1.attn_"),
    "missing tensor": (omit("blk.1.ffn_up.weight"), "lacks the tensor blk.1.ffn_up.weight"),
    "unknown tensor": (shape("blk.0.extra.weight", 32), "have no tensor blk.0.extra.weight"),
    "another shape": (shape("blk.0.attn_k.weight", 32, 32), "blk.0.attn_k.weight has the shape"),
    "transposed": (shape("blk.0.ffn_up.weight", 64, 32), "the shape (64, 32), not (32, 64)"),
    "a dimension more": (shape("output_norm.weight", 32, 1), "the shape (32, 1), not (32,)"),
    "a dimension of 0": (shape("output_norm.weight", 0), "a dimension of 0"),
    "five dimensions": (shape("output_norm.weight", 32, 1, 1, 1, 1), "has 5 dimensions"),
    "no dimensions": (shape("output_norm.weight"), "has 0 dimensions"),
    "rows of half blocks": (shape("output.weight", 48, 268, kind=8), "not of whole q8_0 blocks"),
    "withdrawn type": (shape("output.weight", 32, 268, kind=4), "the unknown type 4"),
    "unknown type": (shape("output.weight", 32, 268, kind=99), "the unknown type 99"),
    "huge tensor": (shape("output.weight", 2**30, 2**30), "it is truncated"),
    "long tensor name": (shape("t" * 64, 32), "a tensor's name in its header is 64 bytes"),
    "malformed tensor name": (shape("blk 0", 32), "the malformed name 'blk 0'"),
    "experts without their tensors": (
        put(llama__expert_count=4, llama__expert_used_count=2),
        "lacks the tensor blk.0.ffn_gate_inp.weight",
    ),
}
FAULTS = ABORTING | WRONG


@pytest.mark.parametrize("name", FAULTS)
def test_a_contradiction_is_refused(name: str, tmp_path: Path) -> None:
    change, said = FAULTS[name]
    made = draft()
    change(made)
    if name == "huge tensor":  # its data would not fit, and is not needed to refuse it
        (tmp_path / "model.gguf").write_bytes(made.header())
    else:
        made.write(tmp_path / "model.gguf")
    assert said in refusal(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("architecture", "change", "said"),
    [
        ("qwen2", put(qwen2__attention__key_length=16), "not as wide as the embedding"),
        ("qwen2", put(qwen2__rope__dimension_count=4), "dimension_count is 4 for heads of 8"),
        ("qwen2", put(qwen2__expert_count=4, qwen2__expert_used_count=2), "have no experts"),
        ("qwen2", put(qwen2__nextn_predict_layers=1), "predict no tokens ahead"),
        ("qwen2", shape("blk.0.attn_k.bias", 32), "blk.0.attn_k.bias has the shape (32,)"),
        ("qwen2", shape("rope_freqs.weight", 4), "have no tensor rope_freqs.weight"),
        ("phi2", omit("output.bias"), "lacks the tensor output.bias"),
        ("phi2", omit("blk.0.attn_norm.bias"), "lacks the tensor blk.0.attn_norm.bias"),
        ("phi2", omit("phi2.attention.layer_norm_epsilon"), "lacks phi2.attention.layer_norm_e"),
        ("phi2", put(phi2__rope__dimension_count=10), "dimension_count is 10 for heads of 8"),
        ("phi2", put(phi2__attention__head_count_kv=2), "blk.0.attn_qkv.weight has the shape"),
        ("gemma2", omit("blk.0.post_ffw_norm.weight"), "lacks the tensor blk.0.post_ffw_norm"),
        ("gemma2", shape("output.weight", 32, 268), "have no tensor output.weight"),
        ("gemma2", put(gemma2__attention__sliding_window=0), "sliding_window is 0"),
        ("gemma2", put(gemma2__final_logit_softcapping=0.0), "softcapping is 0.0"),
        ("gemma2", put(gemma2__attn_logit_softcapping=-1.0), "softcapping is -1.0"),
        ("gemma2", put(gemma2__attention__key_length=0), "key_length is 0"),
        ("gemma2", put(gemma2__rope__dimension_count_swa=64), "has other heads for its sliding"),
        ("gemma2", put(gemma2__attention__key_length_swa=64), "has other heads for its sliding"),
    ],
)
def test_each_architecture_has_its_own_rules(
    architecture: str, change: Change, said: str, tmp_path: Path
) -> None:
    made = draft(architecture)
    change(made)
    assert said in refusal(made.write(tmp_path / "model.gguf"))


def test_phi2_rotates_a_part_of_a_head(tmp_path: Path) -> None:
    made = draft("phi2")
    made.metadata["phi2.rope.dimension_count"] = 4
    read(made.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (both(item(TOKENS, 100, "x"), item(KINDS, 100, 1)), "lacks the byte token <0x61>"),
        (item(KINDS, 100, 1), "the token '<0x61>' names a byte, but is not marked as one"),
        (omit("tokenizer.ggml.scores"), "lacks tokenizer.ggml.scores"),
        (omit(KINDS), "lacks tokenizer.ggml.token_type"),
        (put(tokenizer__ggml__scores=[INFINITY] * 268), "is not finite"),
        (put(tokenizer__ggml__scores=[True] * 268), "is not an array of float"),
    ],
)
def test_sentencepiece_has_its_own_rules(change: Change, said: str, tmp_path: Path) -> None:
    made = sentencepiece(draft())
    change(made)
    assert said in refusal(made.write(tmp_path / "model.gguf"))


def test_scores_may_be_whole_numbers(tmp_path: Path) -> None:
    made = sentencepiece(draft())
    made.metadata["tokenizer.ggml.scores"] = list(range(268))
    read(made.write(tmp_path / "model.gguf"))


# Damage to bytes


@pytest.fixture(scope="module")
def sound() -> tuple[bytes, int]:
    """A sound file's bytes, and how many of them are its header."""
    made = draft()
    return made.bytes(), len(made.header())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"llama.context_length", b"llama.attention.scal", r"lacks llama\.context_length"),
        (b"tokenizer.ggml.merges", b"tokenizer.ggml.tokens", "the key tokenizer.ggml.tokens twice"),
        (b"blk.1.attn_q.weight", b"blk.0.attn_q.weight", "the tensor blk.0.attn_q.weight twice"),
        (b"llama.rope.freq_base", b"llama.rope.free_base", "a damaged llama.rope.freq_base"),
    ],
)
def test_a_renamed_key(
    old: bytes, new: bytes, said: str, sound: tuple[bytes, int], tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(sound[0].replace(old, new))
    with pytest.raises(ModelFileError, match=said):
        read(tmp_path / "model.gguf")


def test_an_overlapping_tensor(sound: tuple[bytes, int], tmp_path: Path) -> None:
    made = draft()
    first, second = list(made.tensors)[:2]
    offset = struct.pack("<Q", 32 * 268 * 4)
    assert offset in sound[0], (first, second)
    for wrong in (0, 32, 2**63, 2**64 - 32):
        (tmp_path / "model.gguf").write_bytes(sound[0].replace(offset, struct.pack("<Q", wrong), 1))
        assert f"the tensor {second} starts at {wrong}" in refusal(tmp_path / "model.gguf")


def test_truncated_or_longer(sound: tuple[bytes, int], tmp_path: Path) -> None:
    data, _ = sound
    path = tmp_path / "model.gguf"
    path.write_bytes(data[:-33])
    assert refusal(path) == (
        f"it is truncated: {len(data) - 33} of {len(data)} bytes; download or copy the file again"
    )
    path.write_bytes(data + bytes(33))
    assert "it is 33 bytes longer than its header declares" in refusal(path)


def test_every_truncation_of_the_header_is_refused(
    sound: tuple[bytes, int], tmp_path: Path
) -> None:
    data, header = sound
    path = tmp_path / "model.gguf"
    for length in range(1, header, 37):
        path.write_bytes(data[:length])
        assert refusal(path)


def reads_or_refuses(path: Path, data: bytes) -> bool:
    """Whether damaged bytes read; anything but reading or `ModelFileError` fails the test."""
    path.write_bytes(data)
    try:
        read(path)
    except ModelFileError:
        return False
    return True


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_are_refused_or_read(architecture: str, seed: int, tmp_path: Path) -> None:
    source = random.Random(f"{architecture} {seed}")
    made = draft(architecture)
    data, header = made.bytes(), len(made.header())
    for _ in range(30):
        damaged = bytearray(data)
        for _ in range(source.choice((1, 1, 2, 8))):
            damaged[source.randrange(header)] = source.choice(
                (0, 1, 127, 255, source.randrange(256))
            )
        reads_or_refuses(tmp_path / "model.gguf", bytes(damaged))


@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_magic(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    assert not reads_or_refuses(path, b"GGUF" + struct.pack("<I", 3) + data)


@pytest.mark.slow
@given(
    key=st.sampled_from(list(draft().metadata)),
    value=st.one_of(
        st.integers(0, 2**32 - 1),
        st.floats(width=32),
        st.booleans(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1),
        st.lists(st.text(max_size=3).filter(lambda text: text.isascii()), min_size=1),
    ),
)
def test_any_value_of_any_key(
    key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = draft()
    made.metadata[key] = value
    if key == "general.alignment":
        return
    reads_or_refuses(tmp_path_factory.getbasetemp() / "any.gguf", made.bytes())


# Bounds


@pytest.mark.parametrize(
    "value",
    [
        Raw(9, struct.pack("<IQ", 8, 2**21)),
        Raw(9, struct.pack("<IQ", 12, 2**21)),
        Raw(9, struct.pack("<IQ", 4, 2**62)),
        Raw(8, struct.pack("<Q", 2**24)),
        Raw(8, struct.pack("<Q", 2**64 - 1)),
    ],
)
def test_a_lying_length_costs_no_memory(value: Raw, tmp_path: Path) -> None:
    made = draft()
    made.metadata["a.lie"] = value
    path = made.write(tmp_path / "model.gguf")
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    made = Draft(metadata={"general.architecture": "llama"})
    for n in range(5):
        made.metadata[f"a.text{n}"] = Raw(8, struct.pack("<Q", 1 << 24))
    data = made.header()
    with path.open("wb") as file:  # sparse: each text is a hole of 16 MiB
        file.write(data[: data.index(b"a.text1") - 8])
        for n in range(1, 6):
            file.seek(1 << 24, os.SEEK_CUR)
            file.write(
                struct.pack("<Q", 7) + f"a.text{n}".encode() + struct.pack("<IQ", 8, 1 << 24)
            )
        file.truncate(file.tell() + (1 << 30))
    assert f"its header is larger than {MAX_HEADER >> 20} MiB" in refusal(path)


def test_tensor_data_is_not_read(tmp_path: Path) -> None:
    """A file of 34 GB, nearly all of it a hole, is checked as fast as a small one."""
    made = draft()
    width = 1 << 15
    made.metadata["llama.feed_forward_length"] = 1 << 22
    for block in range(2):
        made.tensors[f"blk.{block}.ffn_gate.weight"] = ((32, 1 << 22), 0)
        made.tensors[f"blk.{block}.ffn_up.weight"] = ((32, 1 << 22), 0)
        made.tensors[f"blk.{block}.ffn_down.weight"] = ((1 << 22, 32), 0)
    path = tmp_path / "model.gguf"
    path.write_bytes(made.header())
    with pytest.raises(ModelFileError, match=r"it is truncated: \d+ of \d{10} bytes") as caught:
        read(path)
    os.truncate(path, int(caught.value.what.split(" of ")[1].split()[0]))
    tracemalloc.start()
    try:
        assert read(path).file_size > width
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# One open file


def test_an_unchanged_file_passes(tmp_path: Path) -> None:
    with open_model(draft().write(tmp_path / "model.gguf")) as file:
        assert file.header.tensors
        file.check_unchanged()
        assert os.fstat(file.fileno()).st_size == file.header.file_size


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        draft().write(tmp_path / "other.gguf").replace(path)
        with pytest.raises(ModelFileError, match="it was replaced or altered"):
            file.check_unchanged()


@pytest.mark.parametrize("harm", ["touch", "truncate"])
def test_an_altered_file_is_noticed(harm: str, tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        if harm == "touch":
            os.utime(path, ns=(0, file.header.identity[3] + 1_000_000_000))
        else:
            os.truncate(path, 100)
        with pytest.raises(ModelFileError, match="it was replaced or altered"):
            file.check_unchanged()


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        path.unlink()
        with pytest.raises(ModelFileError, match="it has been moved away"):
            file.check_unchanged()


def test_closing_twice_is_fine_and_a_refusal_leaves_nothing_open(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    file = open_model(path)
    file.close()
    file.close()
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        before = len(list(descriptors.iterdir()))
        path.write_bytes(b"not a model")
        refusal(path)
        assert len(list(descriptors.iterdir())) == before
