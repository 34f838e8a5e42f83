"""The KV cache: how its numbers may be kept, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from edgeproxy.errors import UsageError
from edgeproxy.gguf import TENSOR_TYPES, Header
from edgeproxy.gguf.header import TensorType

KvType = Literal["f16", "q8_0"]
"""q8_0 takes 34 bytes for 32 numbers, a little more than half of f16's; not every model can."""

KV_TYPES: Mapping[str, TensorType] = MappingProxyType(
    {kind.name: kind for kind in TENSOR_TYPES.values() if kind.name in ("f16", "q8_0")}
)

_LONG = 8192


def check_kv_type(kv_type: str) -> TensorType:
    """The type called `kv_type`. Raises `UsageError` naming the known ones for any other."""
    if kv_type not in KV_TYPES:
        raise UsageError(f"the KV cache type must be one of {', '.join(KV_TYPES)}, not {kv_type!r}")
    return KV_TYPES[kv_type]


def kv_type_for(header: Header, kv_type: str) -> TensorType:
    """As `check_kv_type`. Raises `UsageError` too where this model's heads do not fit the type."""
    kind = check_kv_type(kv_type)
    for length in _head_lengths(header):
        if length % kind.block:
            raise UsageError(
                f"{header.path}: its heads are {length} numbers long, and a KV cache of {kv_type} "
                f"holds them in blocks of {kind.block}; use f16"
            )
    return kind


def flash_attention(kind: TensorType, n_ctx: int) -> int:
    """llama.cpp's `flash_attn_type`: 0 for none, -1 where it is needed.

    On a processor it makes a batch of a few rows, as drafts and messages are, up to 1.6 times
    slower in a long text. Without it the scores of all heads are kept, which for very long contexts
    is too much, and values must be floats.
    """
    return 0 if kind.name == "f16" and n_ctx <= _LONG else -1


def kv_bytes(header: Header, n_cells: int, kind: TensorType) -> int:
    """How many bytes the keys and values of `n_cells` tokens take, in all blocks of the model.

    Of a transformer whose attention looks at every token; a recurrent state is not counted.
    """
    name = header.architecture
    heads = header.metadata.get(f"{name}.attention.head_count", 0)
    shared = header.metadata.get(f"{name}.attention.head_count_kv", heads)
    # Some architectures have one count for each block.
    n_blocks = header.integer(f"{name}.block_count")
    n_heads = sum(shared) if isinstance(shared, tuple) else n_blocks * shared
    return n_heads * n_cells * sum(_head_lengths(header)) // kind.block * kind.size


def _head_lengths(header: Header) -> tuple[int, int]:
    """How many numbers a head's key is, and its value."""
    name = header.architecture
    heads = header.metadata.get(f"{name}.attention.head_count", 0)
    most = max(heads) if isinstance(heads, tuple) else heads
    default = header.integer(f"{name}.embedding_length") // most if most else 0
    return (
        header.integer(f"{name}.attention.key_length", default),
        header.integer(f"{name}.attention.value_length", default),
    )
