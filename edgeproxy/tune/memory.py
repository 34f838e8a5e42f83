"""How much memory a tuning takes, told from the model's header before any weights are read.

What the backward pass needs is counted from `network.py`, tensor by tensor, and what the process of
llama.cpp takes that a tuning is compared with (`llama_apart`) as a session counts it; tests compare
the sums with what processes held at most.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from edgeproxy.core.memory_free import Free
from edgeproxy.errors import OutOfMemoryError
from edgeproxy.gguf import Header
from edgeproxy.gguf.header import Tensor
from edgeproxy.llama import (
    MAX_ROWS,
    KvType,
    compute_bytes,
    kv_bytes,
    kv_type_for,
    padded,
    vocabulary_bytes,
    weights_bytes,
)
from edgeproxy.tune.architectures import numbers_of
from edgeproxy.tune.llama_child import TEXT_TOKENS
from edgeproxy.tune.loss import CHUNK
from edgeproxy.tune.network import SHORT
from edgeproxy.tune.settings import Dtype, Settings
from edgeproxy.units import in_units

PROCESS = 430_000_000
"""Bytes of a process that has trained a tiny model: Python, PyTorch, this package.

A hundred million fewer where the libraries' files have been on the disk for a while: how much of
them is resident is the system's choice."""

CHILD = 58_000_000
"""Bytes of a process that has answered for llama.cpp: Python, NumPy, llama.cpp, this package."""

_SIZES: dict[Dtype, int] = {"bfloat16": 2, "float32": 4}
_FLOAT = 4
_PER_TRAINED = 6 * _FLOAT
"""Bytes a number of A and B: itself, its gradient, two moments, the best one, and one on its way
into a checkpoint."""
_PER_LOGIT = 4
"""Times the bytes of a chunk: logits, their logarithms, their gradients, and both in a matrix's
dtype on their way."""
_LOOSE = 1.15
"""What the allocator loses between tensors of changing sizes."""
_CONTEXTS = 2
"""The comparison's, without the adapter and with it."""
_KV_TYPE: KvType = "f16"
_IN_FILE = 2
"""Bytes a number of A and B in the adapter's file."""
_LEAST_MICRO = 128
_SMALL_RANK = 4


@dataclass(frozen=True)
class Estimate:
    """Bytes by part.

    - `weights`: the model's, in the dtype of its matrices.
    - `trained`: A and B, and what AdamW, the best and a checkpoint hold of them.
    - `activations`: what the backward pass needs of the longest pass through the network.
    - `logits`: a chunk of them.
    - `comparison`: llama.cpp's process, which runs while this one holds what it has held.
    - `process`: what a process takes without a model.
    """

    weights: int
    trained: int
    activations: int
    logits: int
    comparison: int
    process: int = PROCESS

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Pass:
    """What goes through the network at once: rows of `length` tokens, `tokens` in all.

    With `checkpointing` a block keeps only what goes into it, and computes the rest again.
    """

    tokens: int
    length: int
    checkpointing: bool = False

    @classmethod
    def longest(cls, settings: Settings, length: int) -> Pass:
        """The largest that there can be, of examples of at most `length` tokens."""
        return cls(min(max(settings.micro_tokens, length), max(1, settings.batch) * length), length)


class Fit(NamedTuple):
    """How a tuning fits the memory that is free, and what it takes then."""

    settings: Settings
    checkpointing: bool
    estimate: Estimate


def estimate(header: Header, dtype: Dtype, rank: int, largest: Pass) -> Estimate:
    """The bytes that tuning the model of `header` takes. Raises `UsageError`, `ModelFileError`."""
    size = _SIZES[dtype]
    linears = list(_linears(header))
    n_trained = sum(rank * sum(tensor.shape) for tensor in linears)
    blocks = len(numbers_of(header).windows)
    n_vocab = _n_vocab(header)
    per_block = math.ceil(_LOOSE * _block(header, size, largest))
    kept = blocks * per_block
    if largest.checkpointing:
        kept = blocks * _FLOAT * numbers_of(header).width * largest.tokens + per_block
    return Estimate(
        weights=size * header.n_params,
        trained=(_PER_TRAINED + size) * n_trained,
        activations=kept,
        logits=_PER_LOGIT * min(CHUNK, _FLOAT * n_vocab * largest.tokens),
        comparison=_IN_FILE * n_trained + of_comparison(header, largest.length),
    )


def of_comparison(header: Header, length: int) -> int:
    """What llama.cpp's process takes besides the adapter, with texts of at most `length` tokens."""
    n_ctx, n_vocab, kind = length + TEXT_TOKENS, _n_vocab(header), kv_type_for(header, _KV_TYPE)
    context = (
        kv_bytes(header, padded(n_ctx), kind)
        + compute_bytes(header, n_ctx, kind, n_vocab, MAX_ROWS)
        + 2 * MAX_ROWS * n_vocab * _FLOAT  # its rows, and a copy
    )
    tokens, merges = (header.metadata.get(f"tokenizer.ggml.{n}", ()) for n in ("tokens", "merges"))
    vocabulary = vocabulary_bytes(n_vocab, sum(map(len, tokens)), len(merges))
    return CHILD + weights_bytes(header) + vocabulary + _CONTEXTS * context


def fitting(
    header: Header,
    settings: Settings,
    dtype: Dtype,
    length: int,
    free: Free | None,
    *,
    is_forced: bool = False,
) -> Fit:
    """How to tune with examples of at most `length` tokens in the memory that is `free`.

    As the settings say, else with fewer tokens at once, else with checkpointing, which takes a
    third more time. Raises `OutOfMemoryError`, unless it `is_forced`, where that is not enough;
    what is not known is no reason to refuse.
    """
    found = [
        _fit(header, way, dtype, length, again)
        for again in (False, True)
        for way in _ways(settings)
    ]
    for fit in found:
        if free is None or fit.estimate.total <= free.bytes:
            return fit
    if is_forced:
        return found[-1]
    assert free is not None
    least = found[-1].estimate
    raise OutOfMemoryError(
        f"tuning {header.path} takes {in_units(least.total)} of memory at least "
        f"({in_units(least.weights)} of weights, {in_units(least.trained)} of what is trained, "
        f"{in_units(least.activations)} for the longest example, of {length:,} tokens, "
        f"{in_units(least.comparison)} to compare with llama.cpp), and "
        f"{free.limit} {in_units(free.bytes)}: {_remedies(header, settings, dtype, length, free)}"
    )


@contextlib.contextmanager
def telling_of_memory() -> Iterator[None]:
    """Memory that ends in PyTorch becomes `OutOfMemoryError`: it has no class of its own for it."""
    try:
        yield
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            "tuning needs more memory than this machine has free: close other programs, or take a "
            "smaller --batch, a smaller --rank or a smaller model"
        ) from None


def _ways(settings: Settings) -> Iterator[Settings]:
    yield settings
    tokens = settings.micro_tokens // 2
    while tokens >= _LEAST_MICRO:
        yield replace(settings, micro_tokens=tokens)
        tokens //= 2


def _fit(header: Header, settings: Settings, dtype: Dtype, length: int, again: bool) -> Fit:
    largest = replace(Pass.longest(settings, length), checkpointing=again)
    return Fit(settings, again, estimate(header, dtype, settings.rank, largest))


def _remedies(header: Header, settings: Settings, dtype: Dtype, length: int, free: Free) -> str:
    found = []
    *_, smallest = _ways(settings)

    def fits(way: Settings, dtype: Dtype, length: int) -> bool:
        return _fit(header, way, dtype, length, True).estimate.total <= free.bytes

    if dtype == "float32" and fits(smallest, "bfloat16", length):
        found.append("hold the weights in half of it, which is slow here (--dtype bfloat16)")
    if settings.rank > _SMALL_RANK and fits(replace(smallest, rank=_SMALL_RANK), dtype, length):
        found.append(f"train less (--rank {_SMALL_RANK})")
    shorter = length
    while shorter > _LEAST_MICRO and not fits(smallest, dtype, shorter):
        shorter //= 2
    if shorter < length and fits(smallest, dtype, shorter):
        found.append(f"leave out examples of more than {shorter:,} tokens")
    found.append("tune a smaller model")
    return f"{', or '.join(found)}; or close other programs, or try it anyway (--force)"


def _block(header: Header, size: int, largest: Pass) -> int:
    """What one block keeps of a pass until its backward pass, with matrices of `size` bytes."""
    numbers = numbers_of(header)
    queries, keys = numbers.heads * numbers.head, numbers.shared * numbers.head
    inner = max(tensor.shape[0] for tensor in _linears(header) if "ffn_down" in tensor.name)
    per_token = (
        # What goes into two norms, in float32, and what comes out.
        2 * (_FLOAT + size) * numbers.width
        # Queries and keys in float32, values, and what each head says, in two orders.
        + _FLOAT * (queries + keys)
        + size * (keys + 2 * queries)
        # The gate before and after its activation, up, and their product.
        + 4 * size * inner
    )
    # Scores as probabilities, rounded too in bfloat16; before they are capped, where they are.
    score = _FLOAT + (size if size < _FLOAT else 0) + (_FLOAT if numbers.soft_cap else 0)
    length = largest.length if numbers.soft_cap else min(largest.length, SHORT)
    return (per_token + score * numbers.heads * length) * largest.tokens


def _n_vocab(header: Header) -> int:
    return next(t.shape[1] for t in header.tensors if t.name == "token_embd.weight")


def _linears(header: Header) -> Iterator[Tensor]:
    """The matrices of the blocks, each of which gets an A and a B."""
    return (
        tensor
        for tensor in header.tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    )
