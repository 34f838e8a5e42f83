"""Writes small GGUF files for tests: sound ones of each architecture, and damaged ones.

Written from the format's public description. A `Draft` is a file before it is written: tests change
its metadata or tensors and write it, or flip bytes of what it wrote.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

from edgeproxy.gguf import TENSOR_TYPES

ARCHITECTURES = ("llama", "qwen2", "qwen3", "phi2", "phi3", "gemma2", "gemma3")
F32 = 0
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


@dataclass
class Raw:
    """A metadata value given as its type's number and its bytes."""

    kind: int
    data: bytes


@dataclass
class Draft:
    """A GGUF file to be written. A tensor is its shape, its type's number and perhaps its data."""

    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    version: int = 3
    alignment: int = 32

    def header(self) -> bytes:
        """The header and tensor table, with the padding that follows them."""
        parts = [b"GGUF", struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))]
        for key, value in self.metadata.items():
            kind, data = _encode(value)
            parts += [_text(key), struct.pack("<I", kind), data]
        offset = 0
        for name, (shape, kind) in self.tensors.items():
            place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
            parts += [_text(name), place]
            offset = self._padded(offset + size_of(shape, kind))
        header = b"".join(parts)
        return header.ljust(self._padded(len(header)), b"\0") if self.tensors else header

    def bytes(self, seed: int = 0) -> bytes:
        """The whole file; f32 weights without data are random, of other types zero."""
        parts = [self.header()]
        for name, (shape, kind) in self.tensors.items():
            data = self.data.get(name) or _weights(seed, name, shape, kind)
            parts.append(data.ljust(self._padded(len(data)), b"\0"))
        return b"".join(parts)

    def write(self, path: Path, seed: int = 0) -> Path:
        path.write_bytes(self.bytes(seed))
        return path

    def _padded(self, size: int) -> int:
        return -(-size // self.alignment) * self.alignment


def size_of(shape: tuple[int, ...], kind: int) -> int:
    """The bytes that a tensor takes; 0 for a type that does not exist."""
    known = TENSOR_TYPES.get(kind)
    return prod(shape) // known.block * known.size if known else 0


def draft(
    architecture: str = "llama",
    *,
    width: int = 32,
    weights: int = F32,
    layers: int = 2,
    heads: int = 4,
    shared: int | None = None,
    head: int | None = None,
) -> Draft:
    """A sound model with a byte-level vocabulary, of one `weights` type.

    `shared` heads of keys and values (2, phi2 as many as `heads`); a `head` has width / heads
    numbers where it is not said.
    """
    made = Draft()
    name, forward = architecture, 2 * width
    shared = shared or (heads if name == "phi2" else 2)
    epsilon = "layer_norm_epsilon" if name == "phi2" else "layer_norm_rms_epsilon"
    length = head or width // heads
    made.metadata = {
        "general.architecture": name,
        "general.name": "a test's model",
        f"{name}.block_count": layers,
        f"{name}.context_length": 256,
        f"{name}.embedding_length": width,
        f"{name}.feed_forward_length": forward,
        f"{name}.attention.head_count": heads,
        f"{name}.attention.head_count_kv": shared,
        f"{name}.attention.{epsilon}": 1e-5,
        f"{name}.rope.freq_base": 10000.0,
        f"{name}.rope.dimension_count": length,
        **byte_level_vocabulary(),
    }
    if head or name in ("qwen3", "gemma2", "gemma3"):
        made.metadata |= {
            f"{name}.attention.key_length": length,
            f"{name}.attention.value_length": length,
        }
    if name in ("gemma2", "gemma3"):
        made.metadata[f"{name}.attention.sliding_window"] = 64
    if name == "gemma2":
        made.metadata |= {
            "gemma2.attn_logit_softcapping": 50.0,
            "gemma2.final_logit_softcapping": 30.0,
        }
    words = len(made.metadata["tokenizer.ggml.tokens"])
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, words),
        "output_norm.weight": (width,),
    }
    if name not in ("gemma2", "gemma3"):
        shapes["output.weight"] = (width, words)
    if name == "llama":
        shapes["rope_freqs.weight"] = (length // 2,)
    if name == "phi2":
        shapes |= {"output_norm.bias": (width,), "output.bias": (words,)}
    for block in range(layers):
        one = _block(name, width, forward, heads * length, shared * length, length)
        shapes |= {f"blk.{block}.{key}": shape for key, shape in one.items()}
    made.tensors = {
        key: (shape, weights if len(shape) > 1 else F32) for key, shape in shapes.items()
    }
    return made


def _block(
    name: str, width: int, forward: int, q: int, kv: int, head: int
) -> dict[str, tuple[int, ...]]:
    """The tensors of a layer, whose queries are `q` numbers and whose keys are `kv`."""
    one: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,),
        "attn_output.weight": (q, width),
        "ffn_up.weight": (width, forward),
        "ffn_down.weight": (forward, width),
    }
    if name in ("phi2", "phi3"):
        one["attn_qkv.weight"] = (width, q + 2 * kv)
    else:
        one |= {
            "attn_q.weight": (width, q),
            "attn_k.weight": (width, kv),
            "attn_v.weight": (width, kv),
            "ffn_gate.weight": (width, forward),
        }
    if name == "phi2":
        one |= {
            "attn_norm.bias": (width,),
            "attn_output.bias": (width,),
            "ffn_up.bias": (forward,),
            "ffn_down.bias": (width,),
            "attn_qkv.bias": (q + 2 * kv,),
        }
    else:
        one["ffn_norm.weight"] = (width,)
    if name == "phi3":
        one["ffn_up.weight"] = (width, 2 * forward)
    if name == "qwen2":
        one |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
    if name in ("qwen3", "gemma3"):
        one |= {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}
    if name in ("gemma2", "gemma3"):
        one |= {"post_attention_norm.weight": (width,), "post_ffw_norm.weight": (width,)}
    return one


MERGES = ("t h", "th e", "Ġ t", "Ġt h", "Ġth e", "i n", "e r", "a n", "an d")
OTHER_MERGES = ("h e", "t he", "Ġ w", "o r", "Ġw or", "i s", "Ġ is", "r e", "t o")
"""As many, and none of the same tokens but `the`."""


def byte_level_vocabulary(merges: Sequence[str] = MERGES) -> dict[str, Any]:
    """The tokenizer's keys of a GPT-2-like vocabulary of 259 tokens and one for each merge."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [*map(chr, printable), *(chr(256 + n) for n in range(256 - len(printable)))]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": specials + letters + [merge.replace(" ", "") for merge in merges],
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (256 + len(merges)),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def sentencepiece_vocabulary() -> dict[str, Any]:
    """The tokenizer's keys of a Llama-2-like vocabulary of 268 tokens."""
    words = ["\u2581", "t", "h", "e", "\u2581t", "th", "the", "\u2581the", "a"]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"]
        + [f"<0x{byte:02X}>" for byte in range(256)]
        + words,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(n) for n in range(len(words))],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(words),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _encode(value: Any) -> tuple[int, bytes]:
    """A value's type and bytes; a list takes the type of its first element, whole numbers i32."""
    if isinstance(value, Raw):
        return value.kind, value.data
    if isinstance(value, str):
        return _STRING, _text(value)
    if isinstance(value, list):
        kind = _I32 if type(value[0]) is int else _encode(value[0])[0]
        items = (
            b"".join(map(_text, value))
            if kind == _STRING
            else struct.pack(f"<{len(value)}{_NUMBERS[kind]}", *value)
        )
        return _ARRAY, struct.pack("<IQ", kind, len(value)) + items
    kind = {bool: _BOOL, int: _U32, float: _F32}[type(value)]
    return kind, struct.pack("<" + _NUMBERS[kind], value)


def _weights(seed: int, name: str, shape: tuple[int, ...], kind: int) -> bytes:
    if kind != F32:
        return bytes(size_of(shape, kind))
    centre, spread = (1.0, 0.05) if "norm" in name or "freqs" in name else (0.0, 0.1)
    pool = _pool(8 * seed + crc32(name.encode()) % 8, centre, spread)
    return (pool * -(-prod(shape) // 1024))[: 4 * prod(shape)]


@cache
def _pool(seed: int, centre: float, spread: float) -> bytes:
    """1,024 random f32 numbers; weights repeat them, so that tests need not wait for a million."""
    source = random.Random(seed)
    return array("f", (source.gauss(centre, spread) for _ in range(1024))).tobytes()
