"""The transformer all four models are: llama's architecture, small.

RMSNorm, SwiGLU, rotary positions on neighbouring pairs (llama.cpp's "norm" rope), tied embeddings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Shape:
    """Sizes of a model."""

    layers: int
    width: int
    hidden: int
    head: int
    vocab: int = 4096
    context: int = 1024
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    def as_dict(self) -> dict[str, Any]:
        """The sizes as a plain dictionary, for checkpoints."""
        return asdict(self)


BASE = Shape(layers=5, width=256, hidden=768, head=64)
PAIR = Shape(layers=3, width=128, hidden=384, head=32)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (2i, 2i+1) of `x` [batch, heads, time, head] by position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):  # type: ignore[misc]
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
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, time, 3, self.heads, -1).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        result: Tensor = x + self.down(F.silu(gate) * up)
        return result


class Network(nn.Module):  # type: ignore[misc]
    """A language model: token ids in, logits out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 0.5 / shape.layers if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(
                    parameter, std=0.02 if "embed" in name else scale * parameter.shape[1] ** -0.5
                )
        angles = torch.arange(shape.context)[:, None] * shape.rope_base ** (
            -torch.arange(0, shape.head, 2) / shape.head
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
        return F.linear(states, self.embed.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [batch, time, vocab] of `tokens` [batch, time]."""
        return self.logits(self.hidden(tokens))

    def size(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
