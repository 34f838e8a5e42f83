"""Grows a llama-architecture model in depth, width, heads and vocabulary: the same function.

A new layer adds nothing to the residual stream, since its output projections are zero. New
channels, heads and rows are zero; RMS norms take their mean over the new width, so their weights
are scaled by sqrt(d/d') and epsilon by d/d'. A larger head has the old rotary pairs where their
frequencies are now, and queries scaled against the smaller 1/sqrt(head).

New tokens must never be chosen, but llama has no bias to see to that, and a row of zeros has the
logit 0, which may win. So a new channel is made constant: every token's embedding holds a small
number there, whose square the norms' epsilon gives up, and no layer touches it. The output norm
makes it large, and the new tokens' rows hold a large negative number there and nothing else. Where
the output reads the embedding, all logits of a row rise by the same little: no probability changes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.gguf import Header, Tensor, read
from tools.models.regguf import Place, Value, changed, header_of, metadata_of, padded

Floats = NDArray[np.float32]
Places = Mapping[str, NDArray[np.intp]]

FAR_BELOW = 1e4
"""Minus the logit of a token that is only padding, times the last residual's root mean square."""

# The axes of each tensor, slowest first: Tokens, Embedding, Feed-forward, Queries and Keys (which
# are rotated), Values, Output's inputs (a value for each query head), Rotary pairs.
_OUTER = {
    "token_embd.weight": "TE",
    "output_norm.weight": "E",
    "output.weight": "TE",
    "rope_freqs.weight": "R",
}
_BLOCK = {
    "attn_norm.weight": "E",
    "attn_q.weight": "QE",
    "attn_k.weight": "KE",
    "attn_v.weight": "VE",
    "attn_output.weight": "EO",
    "ffn_norm.weight": "E",
    "ffn_gate.weight": "FE",
    "ffn_up.weight": "FE",
    "ffn_down.weight": "EF",
}
_ADDS_TO_RESIDUAL = ("attn_output.weight", "ffn_down.weight")
_F32, _F16 = 0, 1
_U32, _FLOAT = 4, 6
_REPELLENT = 32768.0  # in float16's range; the output norm does the rest
_BLOCK_OF_K_QUANTS = 256


class Shape(NamedTuple):
    """Hyper-parameters; `head` is the size of a head."""

    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head: int

    def parameters(self, n_tokens: int, tied: bool = True) -> int:
        """How many weights such a model has; `tied`, its output reads the embedding."""
        attention = 2 * self.width * (self.heads + self.kv_heads) * self.head
        layer = attention + 3 * self.width * self.ffn + 2 * self.width
        return self.layers * layer + self.width * (1 + n_tokens * (1 if tied else 2))


def shape_of(header: Header) -> Shape:
    """The shape of a llama-architecture model. Raises `ValueError` for another one."""
    if header.architecture != "llama":
        raise ValueError(f"{header.path}: only llama models grow, not {header.architecture}")
    width = header.integer("llama.embedding_length")
    heads = header.integer("llama.attention.head_count")
    return Shape(
        layers=header.integer("llama.block_count"),
        width=width,
        ffn=header.integer("llama.feed_forward_length"),
        heads=heads,
        kv_heads=header.integer("llama.attention.head_count_kv", heads),
        head=header.integer("llama.attention.key_length", width // heads),
    )


def grow(
    source: Path,
    target: Path,
    new: Shape,
    n_tokens: int,
    *,
    kind: str = "F16",
    far_below: float = FAR_BELOW,
) -> Path:
    """Write the model at `source` to `target` in the shape `new`, with `n_tokens` tokens.

    Matrices become `kind`, "F16" or "F32"; one is held in memory at a time. The source's may be
    F32, F16, BF16 or Q8_0. The own shape and size of a model are possible too: a copy in floats.
    Raises `ValueError` where the new shape cannot hold the old one.
    """
    header = read(source)
    growth = _Growth(header, new, n_tokens, far_below)
    matrix = {"F16": _F16, "F32": _F32}[kind]
    planned = list(growth.planned())
    places = [
        Place(name, shape[::-1], id_, math.prod(shape) * (2 if id_ == _F16 else 4))
        for name, shape in ((name, growth.shape(axes)) for name, axes, _ in planned)
        for id_ in [matrix if len(shape) > 1 else _F32]
    ]
    with target.open("wb") as file:
        file.write(header_of(growth.metadata(matrix), places))
        for (name, axes, origin), place in zip(planned, places, strict=True):
            values = growth.values(name, axes, origin)
            data = values.astype("<f2" if place.kind == _F16 else "<f4", copy=False)
            file.write(data.data)
            file.write(bytes(-place.size % 32))
    return target


def floats(header: Header, tensor: Tensor) -> Floats:
    """A tensor's values, slowest dimension first. Raises `ValueError` for another type."""
    data = np.memmap(header.path, np.uint8, "r", header.data_offset + tensor.offset, tensor.size)
    match tensor.type.name:
        case "f32":
            values = data.view("<f4")
        case "f16":
            values = data.view("<f2").astype(np.float32)
        case "bf16":
            values = (data.view("<u2").astype("<u4") << 16).view("<f4")
        case "q8_0":
            blocks = data.view([("scale", "<f2"), ("numbers", "i1", 32)])
            values = blocks["scale"].astype(np.float32)[:, None] * blocks["numbers"]
        case other:
            raise ValueError(f"{header.path}: {tensor.name} is {other}; use an F16 or Q8_0 file")
    return np.asarray(values, np.float32).reshape(tensor.shape[::-1])


class _Growth:
    """From one model's shape to another's: where each old weight stands in the new one."""

    def __init__(self, header: Header, new: Shape, n_tokens: int, far_below: float) -> None:
        self.header = header
        self.far_below = far_below
        self.old, self.new = shape_of(header), new
        self.tensors = {tensor.name: tensor for tensor in header.tensors}
        self.n_old = len(header.metadata["tokenizer.ggml.tokens"])
        self.n_new = n_tokens
        self._check()
        queries, keys = new.heads * new.head, new.kv_heads * new.head
        self.sizes = {"T": n_tokens, "E": new.width, "F": new.ffn, "R": new.head // 2}
        self.sizes |= {"Q": queries, "O": queries, "K": keys, "V": keys}
        self.places = _places(self.old, new, self.n_old)
        self.epsilon = header.number("llama.attention.layer_norm_rms_epsilon")
        self.constant = 0.0
        if n_tokens > self.n_old:
            self.constant = math.sqrt(self.epsilon * self.old.width / 2)
        # A block of its own: its size would cost other channels their precision.
        self.channel = -(-self.old.width // _BLOCK_OF_K_QUANTS) * _BLOCK_OF_K_QUANTS
        if self.constant and self.channel >= new.width:
            raise ValueError(f"more tokens need a width above {self.channel}, not {new.width}")

    def _check(self) -> None:
        old, new, path = self.old, self.new, self.header.path
        if self.n_new < self.n_old or any(a > b for a, b in zip(old, new, strict=True)):
            raise ValueError(f"{path}: {new} with {self.n_new} tokens cannot hold {old}")
        if new.heads % new.kv_heads or new.heads // new.kv_heads < old.heads // old.kv_heads:
            raise ValueError(f"{path}: a key head of {new} serves fewer queries than in {old}")
        if new.head % old.head or new.width % 32 or new.ffn % 32:
            raise ValueError(f"{path}: {new} needs heads of {old.head} times n, and sizes of 32n")
        metadata = self.header.metadata
        if new.head > old.head and "llama.rope.scaling.type" in metadata:
            raise ValueError(f"{path}: heads cannot grow where positions are scaled")
        if self.n_new > self.n_old and "tokenizer.ggml.token_type" not in metadata:
            raise ValueError(
                f"{path}: it does not say which tokens are unused; keep its vocabulary"
            )
        known = {*_OUTER, *(f"blk.{n}.{name}" for n in range(old.layers) for name in _BLOCK)}
        unknown = sorted(set(self.tensors) - known)
        if unknown:
            raise ValueError(f"{path}: what {unknown[0]} does is not known here")

    def planned(self) -> Iterator[tuple[str, str, Tensor | None]]:
        """Each new tensor with its axes and the old one that is in it, if any is."""
        for name in ("token_embd.weight", "rope_freqs.weight"):
            if name in self.tensors:
                yield name, _OUTER[name], self.tensors[name]
        for layer in range(self.new.layers):
            for name, axes in _BLOCK.items():
                # New layers repeat the old ones, so that they compute something.
                origin = self.tensors[f"blk.{layer % self.old.layers}.{name}"]
                is_silent = layer >= self.old.layers and name in _ADDS_TO_RESIDUAL
                yield f"blk.{layer}.{name}", axes, None if is_silent else origin
        for name in ("output_norm.weight", "output.weight"):
            if name in self.tensors:
                yield name, _OUTER[name], self.tensors[name]

    def shape(self, axes: str) -> tuple[int, ...]:
        """The new shape of a tensor, slowest dimension first."""
        return tuple(self.sizes[axis] for axis in axes)

    def values(self, name: str, axes: str, origin: Tensor | None) -> Floats:
        """A new tensor's values."""
        out = np.full(self.shape(axes), 1.0 if axes == "R" else 0.0, np.float32)
        if origin is not None:
            old = floats(self.header, origin)
            out[np.ix_(*(self.places[axis] for axis in axes))] = old * np.float32(self._scale(axes))
        if self.constant:
            self._keep_padding_down(name, out)
        return out

    def _scale(self, axes: str) -> float:
        if axes == "E":
            return math.sqrt(self.old.width / self.new.width)
        return math.sqrt(self.new.head / self.old.head) if axes == "QE" else 1.0

    def _keep_padding_down(self, name: str, out: Floats) -> None:
        is_tied = "output.weight" not in self.tensors
        if name == "output_norm.weight":
            # Where the old mean square is 1, the new one is old / new width.
            small = self.constant * _REPELLENT / self._scale("E")
            out[self.channel] = self.far_below / small
        if name == "token_embd.weight":
            out[: self.n_old, self.channel] = self.constant
        if name == "output.weight" or (is_tied and name == "token_embd.weight"):
            out[self.n_old :, self.channel] = -_REPELLENT

    def metadata(self, matrix: int) -> dict[str, Value]:
        """The new metadata; what the shape does not change stays as it is."""
        with self.header.path.open("rb") as file:
            content = file.read(self.header.data_offset)
        order = padded(self.n_old, self.n_new - self.n_old)
        found = {k: changed(k, v, order) for k, v in metadata_of(content, self.header).items()}
        new = self.new
        whole = {
            "general.file_type": matrix,
            "llama.block_count": new.layers,
            "llama.embedding_length": new.width,
            "llama.feed_forward_length": new.ffn,
            "llama.attention.head_count": new.heads,
            "llama.attention.head_count_kv": new.kv_heads,
            "llama.attention.key_length": new.head,
            "llama.attention.value_length": new.head,
            "llama.rope.dimension_count": new.head,
        }
        found |= {key: Value(_U32, struct.pack("<I", value)) for key, value in whole.items()}
        spent = self.epsilon * self.old.width - self.constant**2
        epsilon = struct.pack("<f", spent / new.width)
        found["llama.attention.layer_norm_rms_epsilon"] = Value(_FLOAT, epsilon)
        return found


def _places(old: Shape, new: Shape, n_tokens: int) -> Places:
    """Where the old indices of each axis are among the new ones."""
    channel = np.arange(old.head)
    # Pair i turns by base^(-2i / head): in a head n times as large that is pair n * i.
    times = new.head // old.head
    rotated = channel // 2 * 2 * times + channel % 2
    each_old, each_new = old.heads // old.kv_heads, new.heads // new.kv_heads
    head = np.arange(old.heads)
    queries = (head // each_old * each_new + head % each_old)[:, None] * new.head
    keys = np.arange(old.kv_heads)[:, None] * new.head
    return {
        "T": np.arange(n_tokens),
        "E": np.arange(old.width),
        "F": np.arange(old.ffn),
        "R": np.arange(old.head // 2) * times,
        "Q": (queries + rotated).ravel(),
        "O": (queries + channel).ravel(),
        "K": (keys + rotated).ravel(),
        "V": (keys + channel).ravel(),
    }
