"""The transformers of the two trios, small: llama's architecture, and Phi-2's.

llama: RMSNorm, SwiGLU, rotary positions on neighbouring pairs (llama.cpp's "norm" rope), tied
embeddings. Phi-2: attention and a GELU net side by side on one LayerNorm, biases everywhere, rotary
positions on the first part of each head as two halves ("neox" rope), and an output of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, and its architecture by llama.cpp's name.

    `rotary` is how much of a head is rotated; 0 means all of it.
    """

    layers: int
    width: int
    hidden: int
    head: int
    vocab: int = 4096
    context: int = 1024
    rope_base: float = 10000.0
    epsilon: float = 1e-5
    architecture: str = "llama"
    rotary: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The sizes as a plain dictionary, for checkpoints."""
        return asdict(self)


BASE = Shape(layers=5, width=256, hidden=768, head=64)
PAIR = Shape(layers=3, width=128, hidden=384, head=32)
PHI_PAIR = Shape(
    layers=3, width=128, hidden=512, head=32, vocab=2048, architecture="phi2", rotary=16
)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (2i, 2i+1) of `x` [batch, heads, time, head] by position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + n) of `x` [batch, heads, time, head], `n` angles; leave the rest."""
    n = cos.shape[-1]
    first, second, rest = x[..., :n], x[..., n : 2 * n], x[..., 2 * n :]
    return torch.cat((first * cos - second * sin, first * sin + second * cos, rest), -1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention of [batch, heads, time, head] as [batch, time, width]."""
    mixed: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).flatten(2)


class LlamaBlock(nn.Module):  # type: ignore[misc]
    """One layer: attention, then a gated feed-forward net, each on a normed copy."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.width // shape.head
        self.norm1 = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.norm2 = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [batch, time, width] from the same."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotate_pairs(q, cos, sin).to(v.dtype), rotate_pairs(k, cos, sin).to(v.dtype)
        x = x + self.out(attend(q, k, v))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        result: Tensor = x + self.down(F.silu(gate) * up)
        return result


class PhiBlock(nn.Module):  # type: ignore[misc]
    """One layer: attention and a feed-forward net, both on the same normed copy."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.width // shape.head
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.up = nn.Linear(shape.width, shape.hidden)
        self.down = nn.Linear(shape.hidden, shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [batch, time, width] from the same."""
        normed = self.norm(x)
        q, k, v = self.qkv(normed).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotate_halves(q, cos, sin).to(v.dtype), rotate_halves(k, cos, sin).to(v.dtype)
        fed = self.down(F.gelu(self.up(normed), approximate="tanh"))
        result: Tensor = x + self.out(attend(q, k, v)) + fed
        return result


class Network(nn.Module):  # type: ignore[misc]
    """A language model: token ids in, logits out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        is_phi = shape.architecture == "phi2"
        block, norm = (PhiBlock, nn.LayerNorm) if is_phi else (LlamaBlock, nn.RMSNorm)
        self.embed = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(block(shape) for _ in range(shape.layers))
        self.norm = norm(shape.width, eps=shape.epsilon)
        self.unembed = nn.Linear(shape.width, shape.vocab) if is_phi else None
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 0.5 / shape.layers if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(
                    parameter, std=0.02 if "embed" in name else scale * parameter.shape[1] ** -0.5
                )
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        rotary = shape.rotary or shape.head
        angles = torch.arange(shape.context)[:, None] * shape.rope_base ** (
            -torch.arange(0, rotary, 2) / rotary
        )
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the last normed state [batch, time, width] of `tokens` [batch, time]."""
        x = self.embed(tokens)
        time = tokens.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:time], self.sin[:time])
        result: Tensor = self.norm(x)
        return result

    def logits(self, states: Tensor) -> Tensor:
        """Return logits [..., vocab] of states [..., width]."""
        if self.unembed is None:
            return F.linear(states, self.embed.weight)
        result: Tensor = self.unembed(states)
        return result

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [batch, time, vocab] of `tokens` [batch, time]."""
        return self.logits(self.hidden(tokens))

    def size(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
