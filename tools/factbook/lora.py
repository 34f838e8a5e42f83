"""LoRA (Hu et al., 2021, arXiv 2106.09685): low-rank changes of a network's matrices, tuned alone.

A matrix W of shape [out, in] becomes W + B A, with A [rank, in] and B [out, rank]: alpha is the
rank, so that nothing is scaled.
Matrices that the network keeps as one and llama.cpp as several have a change for each of those.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tools.factbook.export import array
from tools.factbook.network import Network

PARTS = {
    "qkv": ("attn_q", "attn_k", "attn_v"),
    "out": ("attn_output",),
    "gate_up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
}
"""The matrices of a block that are changed, and what llama.cpp calls their parts."""


class Change(nn.Module):  # type: ignore[misc]
    """A weight [out, in] plus a change of low rank for each of its `parts`; none at first."""

    def __init__(self, weight: Tensor, parts: int, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(parts, rank, columns) * columns**-0.5)
        self.b = nn.Parameter(torch.zeros(parts, rows // parts, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + (self.b @ self.a).flatten(0, 1)


def add_changes(network: Network, rank: int, seed: int = 0) -> None:
    """Freeze `network`, and put changes that can be tuned over the matrices of its blocks."""
    torch.manual_seed(seed)
    network.requires_grad_(False)
    for block in network.blocks:
        for name, parts in PARTS.items():
            layer = getattr(block, name)
            change = Change(layer.weight, len(parts), rank)
            parametrize.register_parametrization(layer, "weight", change)


def changes(network: Network) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield llama.cpp's name of each changed matrix, and its A [rank, in] and B [out, rank]."""
    for i, block in enumerate(network.blocks):
        for name, parts in PARTS.items():
            (change,) = getattr(block, name).parametrizations.weight
            for part, a, b in zip(parts, change.a, change.b, strict=True):
                yield f"blk.{i}.{part}.weight", a, b


def write_adapter(path: Path, network: Network, name: str) -> None:
    """Write the changes of `network` as a GGUF adapter (F16), as llama.cpp's converter would."""
    writer = gguf.GGUFWriter(path, network.shape.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_license("MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    found = list(changes(network))
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(len(found[0][1])))
    for matrix, a, b in found:
        writer.add_tensor(f"{matrix}.lora_a", array(a).astype("float16"))
        writer.add_tensor(f"{matrix}.lora_b", array(b).astype("float16"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
