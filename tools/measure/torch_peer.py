"""Proxy-tuning in PyTorch, as the paper did it: what `tools.measure.peers --torch` times.

A small llama over the weights of a GGUF file, dequantised: PyTorch's own operations, run eagerly,
with a KV cache that is there from the beginning. The three models are stepped one after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import Header, read
from edgeproxy.trios.find import Recipe
from tools.factbook.network import rotate_pairs
from tools.models.grow import shape_of

if TYPE_CHECKING:
    from tools.measure.peers import Question

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VERSION = str(torch.__version__)

_ATTENTION = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output")
_BLOCK = (*_ATTENTION, "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
_OTHERS = ("token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight")


class Layer(NamedTuple):
    """The weights of one layer; what reads the same input is one matrix."""

    attn_norm: Tensor
    qkv: Tensor
    attn_output: Tensor
    ffn_norm: Tensor
    gate_up: Tensor
    ffn_down: Tensor


class Weights(NamedTuple):
    """The weights of a model; `output` may be `embedding` itself.

    `frequencies`, of shape (head / 2,) and always float32, are the angles of a step of the text.
    """

    embedding: Tensor
    layers: list[Layer]
    norm: Tensor
    output: Tensor
    frequencies: Tensor

    def to(self, dtype: Any, told: Callable[[str], None]) -> Weights:
        """The same in another type of floats; `told` hears how far it is."""
        embedding = self.embedding.to(dtype)
        layers: list[Layer] = []
        for layer in self.layers:
            told(f"to {dtype}: layer {len(layers) + 1} of {len(self.layers)}")
            layers.append(Layer(*(weight.to(dtype) for weight in layer)))
        return Weights(
            embedding,
            layers,
            self.norm.to(dtype),
            embedding if self.output is self.embedding else self.output.to(dtype),
            self.frequencies,
        )


def load(path: Path, told: Callable[[str], None]) -> Weights:
    """The weights of a llama-architecture GGUF file in float32; `told` hears how far it is.

    Raises `ModelFileError` for tensors that this llama does not have, or of a type that the
    package gguf cannot dequantise.
    """
    header = read(path)
    layers, *_, head = shape_of(header)
    known = {*_OTHERS, *(f"blk.{n}.{name}.weight" for n in range(layers) for name in _BLOCK)}
    packed = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    unknown = sorted(set(packed) - known)
    if unknown or "llama.rope.scaling.type" in header.metadata:
        what = unknown[0] if unknown else "scaling of positions"
        raise ModelFileError(path, f"{what} is not in our PyTorch llama; leave out --torch")

    def floats(*names: str) -> Tensor:
        """Matrices with a common input, one under the other."""
        try:
            parts = [gguf.dequantize(packed[n].data, packed[n].tensor_type) for n in names]
        except NotImplementedError as error:
            raise ModelFileError(path, f"gguf cannot dequantise it ({error})") from None
        return torch.cat([torch.from_numpy(part.copy()) for part in parts])

    def layer(n: int) -> Layer:
        told(f"dequantising {path.name}: layer {n + 1} of {layers}")
        norm, *qkv, output, second_norm, gate, up, down = (f"blk.{n}.{x}.weight" for x in _BLOCK)
        return Layer(
            floats(norm),
            floats(*qkv),
            floats(output),
            floats(second_norm),
            floats(gate, up),
            floats(down),
        )

    embedding = floats("token_embd.weight")
    frequencies = header.number("llama.rope.freq_base", 10000.0) ** (
        -torch.arange(0, head, 2) / head
    )
    if "rope_freqs.weight" in packed:
        frequencies = frequencies / floats("rope_freqs.weight")
    return Weights(
        embedding,
        [layer(n) for n in range(layers)],
        floats("output_norm.weight"),
        floats("output.weight") if "output.weight" in packed else embedding,
        frequencies,
    )


class TorchModel:
    """One model with a KV cache of `n_ctx` tokens, in the type of floats of its weights."""

    def __init__(self, header: Header, weights: Weights, n_ctx: int) -> None:
        self._weights = weights
        self._shape = shape = shape_of(header)
        self._epsilon = header.number("llama.attention.layer_norm_rms_epsilon")
        angles = torch.arange(n_ctx)[:, None] * weights.frequencies
        self._cos, self._sin = angles.cos(), angles.sin()
        caches = (shape.layers, shape.kv_heads, n_ctx, shape.head)
        self._keys = torch.zeros(caches, dtype=weights.embedding.dtype)
        self._values = torch.zeros_like(self._keys)
        self.n_past = 0

    def reset(self) -> None:
        """Forget everything."""
        self.n_past = 0

    def eval(self, tokens: Sequence[int]) -> Tensor:
        """Read `tokens`; the logits that follow, shape (n_vocab,), float32."""
        weights, end = self._weights, self.n_past + len(tokens)
        with torch.inference_mode():
            # Which keys each token may see; a single one sees all.
            seen = None
            if len(tokens) > 1:
                seen = torch.arange(end) <= torch.arange(self.n_past, end)[:, None]
            x = weights.embedding[torch.tensor(tokens)]
            for n, layer in enumerate(weights.layers):
                mixed = self._attend(n, F.linear(self._norm(x, layer.attn_norm), layer.qkv), seen)
                x = x + F.linear(mixed, layer.attn_output)
                both = F.linear(self._norm(x, layer.ffn_norm), layer.gate_up)
                gate, up = both.chunk(2, -1)
                x = x + F.linear(F.silu(gate) * up, layer.ffn_down)
            self.n_past = end
            row: Tensor = F.linear(self._norm(x[-1], weights.norm), weights.output).float()
            return row

    def rows(self, parts: Sequence[Sequence[int]]) -> Iterator[NDArray[np.float32]]:
        """The logits that follow each of `parts`, read one after another from nothing."""
        self.reset()
        for part in parts:
            yield self.eval(part).numpy()

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._epsilon)

    def _attend(self, layer: int, qkv: Tensor, seen: Tensor | None) -> Tensor:
        """Attention of [time, queries + keys + values]: [time, queries]."""
        heads, shared, head = self._shape.heads, self._shape.kv_heads, self._shape.head
        start, end = self.n_past, self.n_past + len(qkv)
        parts = qkv.view(len(qkv), -1, head).transpose(0, 1).split((heads, shared, shared))
        cos, sin = self._cos[start:end], self._sin[start:end]
        q, k = (rotate_pairs(part, cos, sin).to(qkv.dtype) for part in parts[:2])
        keys, values = self._keys[layer, :, :end], self._values[layer, :, :end]
        keys[:, start:], values[:, start:] = k, parts[2]
        # The queries that share a key are as many rows before it, so that it need not be repeated.
        q = q.reshape(shared, -1, head)
        mask = None if seen is None else seen.repeat(heads // shared, 1)
        mixed = F.scaled_dot_product_attention(q[None], keys[None], values[None], attn_mask=mask)
        result: Tensor = mixed.reshape(heads, len(qkv), head).transpose(0, 1).flatten(1)
        return result


class TorchTrio:
    """Base, expert and anti-expert, stepped one after another and fused; it ends nothing itself."""

    def __init__(
        self,
        models: Sequence[TorchModel],
        alpha: float,
        plausibility: float,
        temperature: float,
        seed: int,
    ) -> None:
        self.models = models
        self._alpha = alpha
        self._plausibility = plausibility
        self._temperature = temperature
        self._seed = seed

    def reply(self, question: Question) -> Generator[int, Any, None]:
        """The tokens that follow, on and on."""
        generator = torch.Generator().manual_seed(self._seed)
        for model in self.models:
            model.reset()
        rows = [
            model.eval(tokens) for model, tokens in zip(self.models, question.prompt, strict=True)
        ]
        while True:
            token = self._choose(rows, generator)
            yield token
            rows = [model.eval([token]) for model in self.models]

    def _choose(self, rows: Sequence[Tensor], generator: Any) -> int:
        fused, expert, anti_expert = rows
        with torch.inference_mode():
            if self._alpha:
                fused = fused + self._alpha * (expert - anti_expert)
                if self._plausibility:
                    least = expert.max() + math.log(self._plausibility)
                    fused[expert < least] = -math.inf
            if not self._temperature:
                return int(fused.argmax())
            shares = torch.softmax(fused / self._temperature, 0)
            return int(torch.multinomial(shares, 1, generator=generator))


def load_trios(
    recipe: Recipe,
    n_ctx: int,
    temperature: float,
    seed: int,
    threads: int,
    told: Callable[[str], None],
) -> dict[str, TorchTrio]:
    """The trio in each type of floats, by name; PyTorch then uses `threads` threads.

    Raises as `load` does.
    """
    torch.set_num_threads(threads)
    models: dict[str, list[TorchModel]] = {name: [] for name in DTYPES}
    for role in recipe.roles.values():
        header, weights = read(role.path), load(role.path, told)
        for name, dtype in DTYPES.items():
            models[name].append(TorchModel(header, weights.to(dtype, told), n_ctx))
    steering = recipe.steering
    return {
        f"torch {name}": TorchTrio(three, steering.alpha, steering.plausibility, temperature, seed)
        for name, three in models.items()
    }
