"""Checks of hyper-parameters and tensors: exact for known architectures, generic for others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeproxy.gguf.architectures import (
    ARCHITECTURES,
    ENCODERS,
    FUSED,
    SEPARATE,
    Architecture,
    can_rewind,
)
from edgeproxy.gguf.header import CONVERT, Header, Tensor

MAX_BLOCKS = 512
MAX_EXPERTS = 512
_SCALINGS = ("none", "linear", "yarn", "longrope")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_OTHER = "use another file"
_POOLING = (0, 3)
"""How an embedding model makes one vector of many: not at all, the mean, the first, the last."""
_RANK = 4

# Ranges of whole numbers, checked where the key is present.
_WHOLE = {
    "block_count": (1, MAX_BLOCKS),
    "context_length": (1, 1 << 27),
    "embedding_length": (1, 1 << 20),
    "embedding_length_out": (1, 1 << 20),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.scaling.original_context_length": (1, 1 << 27),
}
# Ranges of real numbers, the lower bound excluded.
_REAL = {
    "attention.layer_norm_epsilon": (0.0, 0.1),
    "attention.layer_norm_rms_epsilon": (0.0, 0.1),
    "attention.group_norm_epsilon": (0.0, 0.1),
    "rope.freq_base": (1.0, 1e12),
    "rope.freq_base_swa": (1.0, 1e12),
    "rope.scaling.factor": (0.0, 1e6),
    "rope.scale_linear": (0.0, 1e6),
    "rope.scaling.attn_factor": (0.0, 1e3),
    "attn_logit_softcapping": (0.0, 1e6),
    "final_logit_softcapping": (0.0, 1e6),
}


def check_model(header: Header, n_tokens: int, *, embeds: bool = False) -> None:
    """Check that the header describes weights that llama.cpp can build and step.

    `n_tokens` is the size of the vocabulary. With `embeds` the model makes vectors of texts, and
    need not be one that can write. Raises `ModelFileError`.
    """
    if not header.tensors:
        raise header.error("it holds a vocabulary but no weights", "use the model's own file")
    _check_ranges(header)
    if embeds:
        _check_embeds(header)
    else:
        _check_writes(header)
    _check_experts(header)
    known = {**ARCHITECTURES, **(ENCODERS if embeds else {})}.get(header.architecture)
    if known:
        _check_shapes(header, known, known.dimensions(header, n_tokens))
    else:
        _check_generic(header, n_tokens)


def _check_ranges(header: Header) -> None:
    name = header.architecture
    for key in ("block_count", "context_length", "embedding_length"):
        header.integer(f"{name}.{key}")
    for key, (low, high) in _WHOLE.items():
        if f"{name}.{key}" in header.metadata:
            whole = header.integer(f"{name}.{key}")
            if not low <= whole <= high:
                raise header.error(f"{name}.{key} is {whole}, not in {low} to {high}", _OTHER)
    for key, (above, most) in _REAL.items():
        if f"{name}.{key}" in header.metadata:
            real = header.number(f"{name}.{key}")
            if not above < real <= most:
                raise header.error(f"{name}.{key} is {real}, not in {above} to {most}", _OTHER)
    for key, value in header.metadata.items():
        if key.startswith(name + ".") and isinstance(value, float):
            header.number(key)
    scaling = header.text(f"{name}.rope.scaling.type", "none")
    if scaling not in _SCALINGS:
        raise header.error(f"{name}.rope.scaling.type is {scaling!r}, which is unknown")
    ahead = header.integer(f"{name}.nextn_predict_layers", 0)
    if not 0 <= ahead < header.integer(f"{name}.block_count"):
        raise header.error(f"{name}.nextn_predict_layers is {ahead}, not below the block count")


def _check_writes(header: Header) -> None:
    name = header.architecture
    if not header.flag(f"{name}.attention.causal", True):
        raise header.error("it is an embedding model, which cannot write", _OTHER)
    if pooling := header.integer(f"{name}.pooling_type", 0):
        what = f"{name}.pooling_type is {pooling}: it is an embedding model, which cannot write"
        raise header.error(what, _OTHER)


def _check_embeds(header: Header) -> None:
    name = header.architecture
    header.flag(f"{name}.attention.causal", True)
    pooling, (low, high) = header.integer(f"{name}.pooling_type", 0), _POOLING
    if pooling == _RANK:
        raise header.error(
            "it is a reranker, which compares two texts and makes no vector of one",
            "use an embedding model",
        )
    if not low <= pooling <= high:
        raise header.error(f"{name}.pooling_type is {pooling}, not in {low} to {high}", _OTHER)
    if not can_rewind(header):
        raise header.error(
            f"{name} models are recurrent, and cannot make vectors of texts here",
            "use an embedding model, such as one of BERT's kind",
        )
    if header.integer(f"{name}.embedding_length_out", 0) > 0:
        raise header.error("its vectors are not as wide as its embedding", _OTHER)


def _check_experts(header: Header) -> None:
    """Expert counts that contradict each other make llama.cpp assert."""
    name = header.architecture
    count = header.integer(f"{name}.expert_count", 0)
    key = f"{name}.expert_used_count"
    used = header.metadata.get(key, 0)
    # Some architectures have one count for each block.
    per_block = header.array(key, int) if isinstance(used, tuple) else (header.integer(key, 0),)
    least, most = min(per_block, default=0), max(per_block, default=0)
    groups = header.integer(f"{name}.expert_group_count", 0)
    groups_used = header.integer(f"{name}.expert_group_used_count", 0)
    sound = 0 <= count <= MAX_EXPERTS and 0 <= least <= most <= count and (most > 0) == (count > 0)
    if groups:
        sound &= 0 < groups < count and count % groups == 0
        sound &= groups == 1 or 0 < groups_used < groups
    if not sound:
        raise header.error(
            f"it declares {count} experts of which {used} are used, in {groups} groups of which "
            f"{groups_used} are used"
        )


def _check_shapes(header: Header, known: Architecture, lengths: dict[str, int]) -> None:
    """Every tensor is one that the architecture has, in exactly its shape; none is missing."""
    tensors = {tensor.name: tensor for tensor in header.tensors}
    for name, shape, is_required in _expected(header, known, tensors):
        tensor = tensors.pop(name, None)
        if tensor is None:
            if is_required:
                raise header.error(f"it lacks the tensor {name}", CONVERT)
            continue
        expected = tuple(lengths[letter] for letter in shape.split())
        if tensor.shape != expected:
            raise header.error(
                f"the tensor {name} has the shape {tensor.shape}, not {expected} as its header says"
            )
        # llama.cpp asserts that norms, biases and rope factors are f32.
        if tensor.type.name != "f32" if len(expected) == 1 else not tensor.type.is_weight:
            raise header.error(f"the tensor {name} has the unusable type {tensor.type.name}")
    if tensors:
        raise header.error(f"{header.architecture} models have no tensor {min(tensors)}", CONVERT)


def _expected(
    header: Header, known: Architecture, present: dict[str, Tensor]
) -> Iterator[tuple[str, str, bool]]:
    """(name, shape in letters, whether it is required) for every tensor of the model."""
    for name, shape in known.outer.items():
        yield name.rstrip("?"), shape, not name.endswith("?")
    experts = header.integer(f"{header.architecture}.expert_count", 0) > 0
    for block in range(header.integer(f"{header.architecture}.block_count")):
        prefix = f"blk.{block}."
        fused = prefix + "attn_qkv.weight" in present
        parts = [known.block, FUSED if fused else SEPARATE]
        parts.append((known.experts or {}) if experts else known.feed_forward)
        for part in parts:
            for name, shape in part.items():
                yield prefix + name.rstrip("?"), shape, not name.endswith("?")


def _check_generic(header: Header, n_tokens: int) -> None:
    """What holds in every architecture; llama.cpp itself checks the shapes it knows."""
    blocks = header.integer(f"{header.architecture}.block_count")
    width = header.integer(f"{header.architecture}.embedding_length")
    embedding = None
    for tensor in header.tensors:
        match = _BLOCK.match(tensor.name)
        if match and int(match[1]) >= blocks:
            raise header.error(f"the tensor {tensor.name} is beyond the {blocks} blocks")
        if tensor.name == "token_embd.weight":
            embedding = tensor
        if tensor.name.endswith(".weight") and len(tensor.shape) > 1 and not tensor.type.is_weight:
            raise header.error(f"the tensor {tensor.name} has the unusable type {tensor.type.name}")
    if embedding is None:
        raise header.error("it lacks the tensor token_embd.weight", CONVERT)
    if embedding.shape != (width, n_tokens):
        raise header.error(
            f"its embedding has the shape {embedding.shape}, not {(width, n_tokens)} for its "
            "vocabulary"
        )
    _check_heads(header, width)


def _check_heads(header: Header, width: int) -> None:
    """Heads that are the same in every block; llama.cpp asserts on odd rotations among others."""
    name = header.architecture
    heads = header.metadata.get(f"{name}.attention.head_count")
    shared = header.metadata.get(f"{name}.attention.head_count_kv", heads)
    if not isinstance(heads, int) or not isinstance(shared, int) or not heads or not shared:
        return
    head = header.integer(f"{name}.attention.key_length", max(1, width // heads))
    rotated = header.integer(f"{name}.rope.dimension_count", head)
    if heads % shared:
        raise header.error(f"its {heads} heads cannot share {shared} pairs of keys and values")
    if rotated % 2 or not 0 <= rotated <= head:
        raise header.error(f"{name}.rope.dimension_count is {rotated} for heads of {head}")
