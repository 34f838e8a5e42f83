"""Small random models in every layout that the tunable architectures have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.helpers.gguf_files import F32, Draft, draft

LENGTH = 100
"""Tokens of a text that is longer than every sliding window of these models, which are 64 or 24."""


def with_keys(made: Draft, **keys: Any) -> Draft:
    """The same model with these hyper-parameters; `__` stands for a point, None takes one out."""
    name = made.metadata["general.architecture"]
    for key, value in keys.items():
        full = f"{name}.{key.replace('__', '.')}"
        made.metadata[full] = value
        if value is None:
            del made.metadata[full]
    return made


def tied(made: Draft) -> Draft:
    """The same model with its embedding as its output."""
    del made.tensors["output.weight"]
    return made


def untied(made: Draft) -> Draft:
    """The same model with an output of its own."""
    made.tensors["output.weight"] = made.tensors["token_embd.weight"]
    return made


def biased(made: Draft, *names: str) -> Draft:
    """The same model with biases of these matrices, in each block."""
    for key, (shape, _) in list(made.tensors.items()):
        prefix, _, name = key.removesuffix(".weight").rpartition(".")
        if name in names:
            made.tensors[f"{prefix}.{name}.bias"] = ((shape[1],), F32)
    return made


def separate(made: Draft) -> Draft:
    """The same model with its queries, keys and values in matrices of their own."""
    name = made.metadata["general.architecture"]
    width = made.metadata[f"{name}.embedding_length"]
    heads = made.metadata[f"{name}.attention.head_count"]
    shared = made.metadata[f"{name}.attention.head_count_kv"] * width // heads
    for block in range(made.metadata[f"{name}.block_count"]):
        for part, size in (("q", width), ("k", shared), ("v", shared)):
            made.tensors[f"blk.{block}.attn_{part}.weight"] = ((width, size), F32)
            if f"blk.{block}.attn_qkv.bias" in made.tensors:
                made.tensors[f"blk.{block}.attn_{part}.bias"] = ((size,), F32)
        made.tensors.pop(f"blk.{block}.attn_qkv.weight")
        made.tensors.pop(f"blk.{block}.attn_qkv.bias", None)
    return made


def with_factors(made: Draft, *names: str) -> Draft:
    """The same model with rotary factors of its own under each name, from 1 up to 1 + its place."""
    name = made.metadata["general.architecture"]
    pairs = made.metadata[f"{name}.rope.dimension_count"] // 2
    for place, key in enumerate(names, 1):
        made.tensors[key] = ((pairs,), F32)
        made.data[key] = np.linspace(1.0, 1.0 + place, pairs, dtype="<f4").tobytes()
    return made


def _yarn(made: Draft) -> Draft:
    return with_keys(
        made,
        rope__scaling__type="yarn",
        rope__scaling__factor=4.0,
        rope__scaling__original_context_length=64,
    )


_LONG, _SHORT = "rope_factors_long.weight", "rope_factors_short.weight"

LAYOUTS: Mapping[str, Callable[[], Draft]] = {
    "llama": lambda: draft("llama", layers=3),
    "llama, every head its own keys": lambda: draft("llama", shared=4),
    "llama, one head of keys": lambda: draft("llama", shared=1),
    "llama, long heads, tied": lambda: tied(draft("llama", head=16)),
    "llama, all biases": lambda: biased(
        draft("llama"),
        *("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
    ),
    "llama, fused": lambda: fused(draft("llama")),
    "llama 3's factors": lambda: with_factors(draft("llama"), "rope_freqs.weight"),
    "llama, linear scaling": lambda: with_keys(draft("llama"), rope__scaling__factor=4.0),
    "llama, yarn": lambda: _yarn(draft("llama", head=32)),
    "qwen2": lambda: draft("qwen2", layers=3),
    "qwen2, tied, one head of keys": lambda: tied(draft("qwen2", shared=1)),
    "qwen2, yarn": lambda: _yarn(draft("qwen2", width=128)),
    "qwen3": lambda: draft("qwen3", layers=3),
    "qwen3, long heads, tied": lambda: tied(draft("qwen3", head=16)),
    "gemma2": lambda: draft("gemma2", layers=4),
    "gemma2, long heads": lambda: with_keys(
        draft("gemma2", head=16, shared=1, layers=3),
        attention__sliding_window=24,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=2.0,
    ),
    "gemma2, of as many layers as its largest": lambda: draft(
        "gemma2", head=16, width=16, shared=2, layers=46
    ),
    "gemma3, of as many layers as its largest": lambda: draft(
        "gemma3", head=16, width=16, shared=2, layers=62
    ),
    "gemma2, without caps in the file": lambda: with_keys(
        draft("gemma2"), attn_logit_softcapping=None, final_logit_softcapping=None
    ),
    "gemma3": lambda: draft("gemma3", layers=7),
    "gemma3, bases, long heads, untied": lambda: with_keys(
        untied(draft("gemma3", head=16, shared=1, layers=7)),
        rope__freq_base=1e6,
        attention__sliding_window=24,
        final_logit_softcapping=2.0,
    ),
    "gemma3, linear scaling, a base for windows": lambda: with_keys(
        draft("gemma3", layers=3),
        rope__scaling__type="linear",
        rope__scaling__factor=8.0,
        rope__freq_base_swa=500.0,
        attention__sliding_window_pattern=2,
        attention__sliding_window=24,
    ),
    "gemma3, without windows": lambda: with_keys(
        draft("gemma3"), attention__sliding_window=None, rope__freq_base=1e6
    ),
    "phi2": lambda: draft("phi2", layers=3),
    "phi2, separate, partly turned": lambda: with_keys(
        separate(draft("phi2")), rope__dimension_count=4
    ),
    "phi2, grouped heads": lambda: draft("phi2", shared=2),
    "phi3": lambda: draft("phi3", layers=3),
    "phi3, separate, tied": lambda: tied(separate(draft("phi3"))),
    "phi3, partly turned": lambda: with_keys(draft("phi3"), rope__dimension_count=6),
    "phi3, a window that llama.cpp ignores": lambda: with_keys(
        draft("phi3"), attention__sliding_window=24
    ),
    "phi3, long factors": lambda: with_keys(
        with_factors(draft("phi3"), _LONG, _SHORT),
        rope__scaling__type="longrope",
        rope__scaling__attn_factor=1.19,
        rope__scaling__original_context_length=128,
    ),
    "phi3, short factors": lambda: with_keys(
        with_factors(draft("phi3"), _LONG, _SHORT),
        rope__scaling__attn_factor=1.19,
        rope__scaling__original_context_length=256,
    ),
}


def fused(made: Draft) -> Draft:
    """The same model with queries, keys and values in one matrix."""
    parts: dict[str, list[int]] = {}
    for key, (shape, _) in list(made.tensors.items()):
        prefix, _, name = key.rpartition("attn_")
        if name in ("q.weight", "k.weight", "v.weight"):
            parts.setdefault(prefix, []).append(shape[1])
            del made.tensors[key]
    width = made.tensors["output_norm.weight"][0][0]
    for prefix, sizes in parts.items():
        made.tensors[f"{prefix}attn_qkv.weight"] = ((width, sum(sizes)), F32)
    return made
