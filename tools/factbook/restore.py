"""Reads a network and its tokenizer back from a GGUF file that `export` wrote, quantised or not."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tools.factbook.network import Network, Shape
from tools.factbook.tokens import make_tokenizer


def restore(path: Path) -> tuple[Network, Tokenizer]:
    """Return the network, of llama's architecture, with the weights as llama.cpp computes them."""
    reader = gguf.GGUFReader(path)
    weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    vocab, width = weights["token_embd.weight"].shape

    def value(key: str) -> float:
        found: float = reader.fields[f"llama.{key}"].contents()
        return found

    shape = Shape(
        layers=int(value("block_count")),
        width=width,
        hidden=int(value("feed_forward_length")),
        head=width // int(value("attention.head_count")),
        vocab=vocab,
        context=int(value("context_length")),
        rope_base=value("rope.freq_base"),
        epsilon=value("attention.layer_norm_rms_epsilon"),
    )
    network = Network(shape)
    network.load_state_dict(_state(weights, shape.layers))
    network.eval()
    return network, make_tokenizer(*(reader.fields[f"tokenizer.ggml.{k}"].contents() for k in _BPE))


_BPE = ("tokens", "merges")


def _state(weights: dict[str, NDArray[np.float32]], layers: int) -> dict[str, torch.Tensor]:
    """The weights by the network's own names; the opposite of `export.llama_tensors`."""
    state = {
        "embed.weight": weights["token_embd.weight"],
        "norm.weight": weights["output_norm.weight"],
    }
    for i in range(layers):
        parts = {
            "norm1": ("attn_norm",),
            "norm2": ("ffn_norm",),
            "qkv": ("attn_q", "attn_k", "attn_v"),
            "out": ("attn_output",),
            "gate_up": ("ffn_gate", "ffn_up"),
            "down": ("ffn_down",),
        }
        for name, of in parts.items():
            joined = np.concatenate([weights[f"blk.{i}.{part}.weight"] for part in of])
            state[f"blocks.{i}.{name}.weight"] = joined
    return {name: torch.from_numpy(np.array(w, np.float32)) for name, w in state.items()}
