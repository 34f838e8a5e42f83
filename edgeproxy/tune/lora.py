"""LoRA (Hu et al. 2021, arXiv 2106.09685): two small matrices beside each large one, and a file.

W x becomes W x + alpha / rank * B A x, with A of random numbers and B of zeros at first, so that
training begins at the model as it is.

May touch: the adapter's file, written beside its path and renamed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import torch
from torch import Tensor, nn

from edgeproxy.core import check
from edgeproxy.errors import UsageError
from edgeproxy.files import replacing
from edgeproxy.gguf.adapter import MAX_ALPHA, MAX_RANK
from edgeproxy.tune.network import Linear, Network

Precision = Literal["f16", "f32"]
_DTYPES = {"f16": np.float16, "f32": np.float32}


def add_lora(network: Network, rank: int, alpha: float, seed: int) -> None:
    """Give every matrix of the blocks an A and a B to train, in float32; all else stays fixed.

    A is uniform in +-1 / sqrt(inputs), as peft's is, from a generator of its own, the `seed`; an
    earlier LoRA is replaced. A fused matrix gets one pair. Raises `UsageError`.
    """
    rank = check.whole("rank", rank, 1, MAX_RANK)
    alpha = check.number("alpha", alpha, 1e-6, MAX_ALPHA)
    random = torch.Generator().manual_seed(check.whole("seed", seed, 0, (1 << 63) - 1))
    for _, linear in _linears(network):
        outputs, inputs = linear.weight.shape
        uniform = torch.rand(rank, inputs, generator=random) * 2 - 1
        linear.lora_a = nn.Parameter(uniform / inputs**0.5)
        linear.lora_b = nn.Parameter(torch.zeros(outputs, rank))
        linear.alpha = alpha


def parameters(network: Network) -> dict[str, Tensor]:
    """What is trained, by the names of the adapter's file, block after block and always alike.

    `blk.0.attn_q.weight.lora_a` is (rank, inputs), its `lora_b` (outputs, rank).
    """
    return {
        f"{name}.weight.lora_{part}": getattr(linear, f"lora_{part}")
        for name, linear in _linears(network)
        if linear.lora_a is not None
        for part in "ab"
    }


def write_adapter(
    path: str | os.PathLike[str],
    network: Network,
    *,
    name: str,
    precision: Precision = "f16",
) -> None:
    """Write what was trained as a GGUF adapter that is called `name`; it replaces `path` at once.

    f16 halves the file. Raises `UsageError` where there is no LoRA, or a number that f16 (or any
    precision) cannot hold; `OSError`.
    """
    trained = parameters(network)
    if not trained:
        raise UsageError("there is nothing to write: the network has no LoRA; call add_lora")
    linear = next(iter(_linears(network)))[1]
    with replacing(Path(path)) as file:
        writer = gguf.GGUFWriter(None, network.header.architecture)
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", linear.alpha)
        for key, numbers in trained.items():
            writer.add_tensor(key, _rounded(key, numbers, precision))
        _write(writer, Path(file.name))


def _write(writer: gguf.GGUFWriter, path: Path) -> None:
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _rounded(key: str, numbers: Tensor, precision: Precision) -> np.ndarray:
    """The numbers in a file's precision. Raises `UsageError` where they are not finite in it."""
    with np.errstate(over="ignore"):
        found: np.ndarray = numbers.detach().numpy().astype(_DTYPES[precision])
    if not np.isfinite(found).all():
        raise UsageError(
            f"{key} has a number that is not finite in {precision}; train with a lower rate"
        )
    return found


def _linears(network: Network) -> Iterator[tuple[str, Linear]]:
    """(name without `.weight`, module) of the matrices of the blocks, in their fixed order."""
    for n, block in enumerate(network.blk):
        for name, module in sorted(block.named_children()):
            if isinstance(module, Linear):
                yield f"blk.{n}.{name}", module
