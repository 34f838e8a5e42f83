"""Write a trio of real size with random weights, to measure speed where nothing can be downloaded.

    python -m tools.models.random_trio OUT [--base-params 1b] [--pair-params 135m] [--vocab 32000]

Three llama-architecture GGUF files whose matrices are random Q4_0 blocks, over one synthetic
byte-level BPE vocabulary, and their `trio.toml`. The format is described in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from edgeproxy.cli.ui.progress import Working
from tools.command import at_least, make_parser, run

_F32, _Q4_0 = 0, 2
_Q4_0_FILE = 2
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_BLOCK_WEIGHTS = 32
_NIBBLE_SPREAD = 4.61  # the standard deviation of 0 to 15
_ALIGNMENT = 32
_CHUNK_BLOCKS = 1 << 19
_LOGIT_SPREAD = 3.0  # trained models: a few tokens stand out, most do not


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of the llama architecture; `tied` reads the output from the embedding."""

    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    tied: bool


SHAPES = {
    "tiny": Shape(layers=2, width=64, ffn=128, heads=2, kv_heads=1, tied=True),
    "135m": Shape(layers=30, width=576, ffn=1536, heads=9, kv_heads=3, tied=True),
    "360m": Shape(layers=32, width=960, ffn=2560, heads=15, kv_heads=5, tied=True),
    "1b": Shape(layers=22, width=2048, ffn=5632, heads=32, kv_heads=4, tied=False),
    "3b": Shape(layers=28, width=3072, ffn=8192, heads=24, kv_heads=8, tied=False),
    "8b": Shape(layers=32, width=4096, ffn=14336, heads=32, kv_heads=8, tied=False),
}
"""By their number of parameters: those of SmolLM, TinyLlama and Llama 3, and one for tests."""


class Tensor(NamedTuple):
    """A tensor to write; its random weights get this standard deviation, or are all 1 without."""

    name: str
    shape: tuple[int, ...]
    spread: float | None

    @property
    def size(self) -> int:
        """In bytes."""
        if self.spread is None:
            return 4 * self.shape[0]
        return self.shape[0] * self.shape[1] // _BLOCK_WEIGHTS * _BLOCK.itemsize


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in GPT-2's spelling of bytes, the merges that make them, and the end of text."""

    tokens: list[str]
    merges: list[str]
    end_of_text: int


def make_vocabulary(size: int) -> Vocabulary:
    """256 bytes, then ever longer words of letters with a merge for each, and an end of text.

    Raises `ValueError` below 300 tokens.
    """
    if size < 300:
        raise ValueError(f"a vocabulary needs at least 300 tokens, not {size}")
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [chr(byte) for byte in printable]
    tokens += [chr(256 + n) for n in range(256 - len(tokens))]
    merges: list[str] = []
    # A space may only begin a word, as in those that a pre-tokenizer cuts out.
    words = ["\u0120", *ascii_lowercase]
    for word, letter in ((word, letter) for word in words for letter in ascii_lowercase):
        if len(tokens) == size - 1:
            break
        words.append(word + letter)
        tokens.append(word + letter)
        merges.append(f"{word} {letter}")
    return Vocabulary([*tokens, "<|endoftext|>"], merges, len(tokens))


def tensors_of(shape: Shape, n_vocab: int) -> list[Tensor]:
    """The tensors of a llama-architecture model, scaled so that activations keep their size."""
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    inward = width**-0.5
    # What the layers add to the residual stream sums to about its own size.
    onward = (2 * shape.layers) ** -0.5
    found = [Tensor("token_embd.weight", (width, n_vocab), _LOGIT_SPREAD * inward)]
    for n in range(shape.layers):
        block = [
            Tensor("attn_norm.weight", (width,), None),
            Tensor("attn_q.weight", (width, width), inward),
            Tensor("attn_k.weight", (width, kv_width), inward),
            Tensor("attn_v.weight", (width, kv_width), inward),
            Tensor("attn_output.weight", (width, width), inward * onward),
            Tensor("ffn_norm.weight", (width,), None),
            Tensor("ffn_gate.weight", (width, shape.ffn), inward),
            Tensor("ffn_up.weight", (width, shape.ffn), inward),
            Tensor("ffn_down.weight", (shape.ffn, width), shape.ffn**-0.5 * onward),
        ]
        found += [tensor._replace(name=f"blk.{n}.{tensor.name}") for tensor in block]
    found.append(Tensor("output_norm.weight", (width,), None))
    if not shape.tied:
        found.append(Tensor("output.weight", (width, n_vocab), _LOGIT_SPREAD * inward))
    return found


def write_model(
    path: Path,
    name: str,
    shape: Shape,
    vocabulary: Vocabulary,
    seed: int,
    told: Callable[[str], None] = lambda what: None,
) -> str:
    """Write a model with random weights, a chunk at a time; the sha256 of the file."""
    tensors = tensors_of(shape, len(vocabulary.tokens))
    total = sum(tensor.size for tensor in tensors)
    digest = hashlib.sha256()
    written = 0
    with path.open("wb") as file:
        header = _header(_metadata(name, shape, vocabulary), tensors)
        for part in chain([header], _weights(tensors, seed)):
            file.write(part)
            digest.update(part)
            written += len(part)
            told(f"{path.name}: {min(written / total, 1):.0%}")
    return digest.hexdigest()


def _metadata(name: str, shape: Shape, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "general.architecture": "llama",
        "general.name": name,
        "general.file_type": _Q4_0_FILE,
        "llama.context_length": 4096,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.ffn,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": len(vocabulary.tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": [1] * (len(vocabulary.tokens) - 1) + [3],
        "tokenizer.ggml.merges": vocabulary.merges,
        "tokenizer.ggml.bos_token_id": vocabulary.end_of_text,
        "tokenizer.ggml.eos_token_id": vocabulary.end_of_text,
        "tokenizer.ggml.add_bos_token": False,
    }


def _header(metadata: dict[str, Any], tensors: Sequence[Tensor]) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, data = _value(value)
        parts += [_text(key), struct.pack("<I", kind), data]
    offset = 0
    for tensor in tensors:
        dimensions = len(tensor.shape)
        kind = _F32 if tensor.spread is None else _Q4_0
        parts.append(_text(tensor.name))
        parts.append(struct.pack(f"<I{dimensions}QIQ", dimensions, *tensor.shape, kind, offset))
        offset += tensor.size + _padding(tensor.size)
    header = b"".join(parts)
    return header + bytes(_padding(len(header)))


def _value(value: Any) -> tuple[int, bytes]:
    """A metadata value's type number and bytes; a list holds only strings, or only integers."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _text(value)
    if isinstance(value[0], int):
        return 9, struct.pack(f"<IQ{len(value)}i", 5, len(value), *value)
    return 9, struct.pack("<IQ", 8, len(value)) + b"".join(map(_text, value))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _weights(tensors: Sequence[Tensor], seed: int) -> Iterator[bytes]:
    generator = np.random.default_rng(seed)
    for tensor in tensors:
        if tensor.spread is None:
            yield np.ones(tensor.shape, "<f4").tobytes()
        else:
            left = tensor.size // _BLOCK.itemsize
            while left:
                count = min(left, _CHUNK_BLOCKS)
                yield _random_blocks(generator, count, tensor.spread)
                left -= count
        yield bytes(_padding(tensor.size))


def _random_blocks(generator: np.random.Generator, count: int, spread: float) -> bytes:
    blocks = np.empty(count, _BLOCK)
    blocks["nibbles"] = generator.integers(0, 256, (count, 16), np.uint8)
    # Q4_0's -8 to 7 has mean -0.5: a scale of random sign makes it 0.
    signs = generator.integers(0, 2, count) * 2 - 1
    blocks["scale"] = signs * (spread / _NIBBLE_SPREAD)
    return blocks.tobytes()


def write_trio(
    out: Path,
    base: Shape,
    pair: Shape,
    n_vocab: int,
    seed: int,
    told: Callable[[str], None] = lambda what: None,
) -> None:
    """Write three models and their manifest into the folder `out`, which may exist."""
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = make_vocabulary(n_vocab)
    manifest = [
        'name = "random"',
        'description = "Random weights in real shapes, for measuring speed; it talks nonsense."',
        'licence = "CC0-1.0"',
        "alpha = 1.0",
        "plausibility = 0.03",
    ]
    shapes = {"base": base, "expert": pair, "anti_expert": pair}
    for number, (role, shape) in enumerate(shapes.items(), start=1):
        path = out / f"{role.replace('_', '-')}.gguf"
        sha256 = write_model(path, f"random {role}", shape, vocabulary, seed + number, told)
        manifest += [
            "",
            f"[{role}]",
            f'file = "{path.name}"',
            f"size = {path.stat().st_size}",
            f'sha256 = "{sha256}"',
            'prompt = "plain"',
        ]
    (out / "trio.toml").write_text("\n".join(manifest) + "\n", encoding="utf-8")


def main() -> int:
    """Write a random trio, as the command line asks; the exit code."""
    parser = make_parser("tools.models.random_trio", __doc__)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--base-params", choices=SHAPES, default="1b")
    parser.add_argument("--pair-params", choices=SHAPES, default="135m")
    parser.add_argument("--vocab", type=at_least(300), default=32_000, help="tokens, 300 or more")
    parser.add_argument("--seed", type=at_least(0), default=0)

    def work(asked: argparse.Namespace, working: Working) -> Path:
        base, pair = SHAPES[asked.base_params], SHAPES[asked.pair_params]
        write_trio(asked.out, base, pair, asked.vocab, asked.seed, working.tell)
        return Path(asked.out) / "trio.toml"

    return run(parser, work, str)


if __name__ == "__main__":
    sys.exit(main())
