"""The GGUF validator: a header that contradicts itself is refused in a sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgeproxy.gguf import read
from tests.helpers.gguf_changes import (
    INFINITY,
    KINDS,
    MERGES,
    NAN,
    TOKENS,
    Change,
    both,
    experts,
    item,
    omit,
    put,
    refusal,
    sentencepiece,
    shape,
    with_alignment,
)
from tests.helpers.gguf_files import Raw, draft

# llama.cpp aborts the whole process at these.
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
