"""The architectures that can be tuned: in what they differ, and a model's own numbers.

A row of `ARCHITECTURES` holds what a file does not say of itself. All else is read from the header
(`Numbers`), or seen from the tensors that are there: biases, norms of heads, norms after a block,
fused matrices. The truth is what llama.cpp computes: the `src/models/*.cpp` of llama-cpp-python
0.3.36.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeproxy.errors import UsageError
from edgeproxy.gguf import Header

Activation = Literal["silu", "gelu"]


@dataclass(frozen=True)
class Architecture:
    """In what an architecture differs from the others.

    `adjacent`: the rotary embedding turns pairs of neighbours (llama.cpp's "norm"), not the n-th
    number of a head's first half with that of its second ("neox"). `is_rms`: norms are by root mean
    square, without a mean. `parallel`: attention and feed-forward read the same norm and are added
    to the same input. `scaled`: the embedding is multiplied by the root of its width. `window`: how
    many tokens a layer with a sliding window sees where the file does not say, 0 for all of them.
    `pattern`: of so many layers the last one sees all tokens; 0 where the key is not read.
    `local_base`: the rotary base of layers with a window where the file does not say, 0 for that of
    the others. `largest`: the number of layers of the one model whose attention is scaled by the
    width per head instead of the length of a head (Gemma's of 27 billion).
    """

    adjacent: bool = False
    is_rms: bool = True
    activation: Activation = "silu"
    parallel: bool = False
    scaled: bool = False
    pattern: int = 0
    window: int = 0
    local_base: float = 0.0
    largest: int = 0


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(adjacent=True),
    "qwen2": Architecture(),
    "qwen3": Architecture(),
    "gemma2": Architecture(activation="gelu", scaled=True, pattern=2, window=4096, largest=46),
    "gemma3": Architecture(
        activation="gelu", scaled=True, pattern=6, local_base=10_000.0, largest=62
    ),
    "phi2": Architecture(is_rms=False, activation="gelu", parallel=True),
    "phi3": Architecture(),
}


@dataclass(frozen=True)
class Numbers:
    """A model's hyper-parameters; lengths in numbers, `windows` in tokens for each layer, 0 = all.

    `soft_cap` bounds the attention's scores and `final_soft_cap` the logits: c tanh(x / c), 0 for
    none. `scale` multiplies the products of queries and keys.
    """

    width: int
    heads: int
    shared: int
    head: int
    epsilon: float
    scale: float
    soft_cap: float
    final_soft_cap: float
    windows: tuple[int, ...]


def architecture_of(header: Header) -> Architecture:
    """The row of the table for this model.

    Raises `UsageError` with those that there are for any other, and for mixtures of experts.
    """
    name = header.architecture
    known = ARCHITECTURES.get(name)
    choices = f"models of these architectures can be: {', '.join(ARCHITECTURES)}"
    if known is None:
        raise UsageError(f"{header.path}: {name} models cannot be tuned here; {choices}")
    if header.integer(f"{name}.expert_count", 0):
        raise UsageError(
            f"{header.path}: a mixture of experts cannot be tuned here; {choices}, without experts"
        )
    return known


def numbers_of(header: Header) -> Numbers:
    """The hyper-parameters in a validated header. Raises `UsageError` and `ModelFileError`."""
    name, known = header.architecture, architecture_of(header)
    width = header.integer(f"{name}.embedding_length")
    heads = header.integer(f"{name}.attention.head_count")
    head = header.integer(f"{name}.attention.key_length", width // heads)
    n_blocks = header.integer(f"{name}.block_count")
    epsilon = "layer_norm_rms_epsilon" if known.is_rms else "layer_norm_epsilon"
    is_gemma2 = name == "gemma2"  # whose caps llama.cpp applies also where the file is silent
    return Numbers(
        width=width,
        heads=heads,
        shared=header.integer(f"{name}.attention.head_count_kv", heads),
        head=head,
        epsilon=header.number(f"{name}.attention.{epsilon}"),
        scale=1.0 / math.sqrt(width // heads if n_blocks == known.largest else head),
        soft_cap=header.number(f"{name}.attn_logit_softcapping", 50.0) if is_gemma2 else 0.0,
        final_soft_cap=(
            header.number(f"{name}.final_logit_softcapping", 30.0 if is_gemma2 else 0.0)
            if known.scaled
            else 0.0
        ),
        windows=_windows(header, known, n_blocks),
    )


def _windows(header: Header, known: Architecture, n_blocks: int) -> tuple[int, ...]:
    """How many tokens each layer sees, 0 for all."""
    name = header.architecture
    if not known.pattern:
        return (0,) * n_blocks
    window = header.integer(f"{name}.attention.sliding_window", known.window)
    key = f"{name}.attention.sliding_window_pattern"
    listed = header.metadata.get(key, known.pattern)
    if isinstance(listed, tuple):
        if len(listed) < n_blocks:
            raise header.error(f"{key} names {len(listed)} of {n_blocks} layers")
        return tuple(window if is_local else 0 for is_local in listed[:n_blocks])
    period = header.integer(key, known.pattern)
    return tuple(
        window if period == 0 or block % period < period - 1 else 0 for block in range(n_blocks)
    )
