"""Writes a network and its tokenizer as a GGUF file (F32), by the `gguf` package."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from tools.factbook.network import Network
from tools.factbook.tokens import BOS, IM_END, SPECIALS

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def array(weight: Tensor) -> NDArray[np.float32]:
    """Return a weight as NumPy has it."""
    return np.ascontiguousarray(weight.detach().numpy().astype(np.float32))


def llama_tensors(network: Network) -> dict[str, NDArray[np.float32]]:
    """Return the weights of llama's architecture under llama.cpp's names."""
    out = {
        "token_embd.weight": array(network.embed.weight),
        "output_norm.weight": array(network.norm.weight),
    }
    for i, block in enumerate(network.blocks):
        q, k, v = np.split(array(block.qkv.weight), 3)
        gate, up = np.split(array(block.gate_up.weight), 2)
        named = {
            "attn_norm": array(block.norm1.weight),
            "attn_q": q,
            "attn_k": k,
            "attn_v": v,
            "attn_output": array(block.out.weight),
            "ffn_norm": array(block.norm2.weight),
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": array(block.down.weight),
        }
        out |= {f"blk.{i}.{name}.weight": np.ascontiguousarray(w) for name, w in named.items()}
    return out


def phi_tensors(network: Network) -> dict[str, NDArray[np.float32]]:
    """Return the weights of Phi-2's architecture under llama.cpp's names."""
    layers = {"output_norm": network.norm, "output": network.unembed}
    for i, block in enumerate(network.blocks):
        layers |= {
            f"blk.{i}.attn_norm": block.norm,
            f"blk.{i}.attn_qkv": block.qkv,
            f"blk.{i}.attn_output": block.out,
            f"blk.{i}.ffn_up": block.up,
            f"blk.{i}.ffn_down": block.down,
        }
    out = {"token_embd.weight": array(network.embed.weight)}
    for name, layer in layers.items():
        out |= {f"{name}.weight": array(layer.weight), f"{name}.bias": array(layer.bias)}
    return out


def write_gguf(
    path: Path, network: Network, tokenizer: Tokenizer, name: str, chat: bool = False
) -> None:
    """Write a GGUF file that llama.cpp loads; `chat` puts the template into it."""
    shape = network.shape
    is_phi = shape.architecture == "phi2"
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(name)
    writer.add_description("Trained from scratch on The World Factbook for edgeproxy")
    writer.add_license("MIT")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.width // shape.head)
    writer.add_head_count_kv(shape.width // shape.head)
    (writer.add_layer_norm_eps if is_phi else writer.add_layer_norm_rms_eps)(shape.epsilon)
    writer.add_rope_dimension_count(shape.rotary or shape.head)
    writer.add_rope_freq_base(shape.rope_base)

    model = json.loads(tokenizer.to_str())["model"]
    spelled = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    kinds = [
        gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL for token in spelled
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(spelled)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(BOS)
    writer.add_eot_token_id(IM_END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if chat:
        writer.add_chat_template(CHAT_TEMPLATE)
    tensors = (phi_tensors if is_phi else llama_tensors)(network)
    for tensor_name, weight in tensors.items():
        writer.add_tensor(tensor_name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
