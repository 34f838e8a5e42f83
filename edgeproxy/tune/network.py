"""A decoder-only transformer in PyTorch over a GGUF file, in the file's own names and layout.

Nothing is renamed or permuted: module `blk.3.attn_q` holds the tensor `blk.3.attn_q.weight`. So
what is trained here is called as llama.cpp calls it. Norms, rotary embeddings and sums of blocks
are computed in float32, matrices in the dtype that was asked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edgeproxy.core.cancel import Cancel
from edgeproxy.gguf import Header, open_model
from edgeproxy.tune.architectures import Architecture, Numbers, architecture_of, numbers_of
from edgeproxy.tune.functions import LowRank, RmsNorm, Turn
from edgeproxy.tune.rotary import factors_name, rotary_of
from edgeproxy.tune.weights import Progress, read_weights

DEFAULT_N_CTX = 4096
"""As `edgeproxy run` makes contexts; some models turn positions otherwise in longer ones."""

SHORT = 512
"""In texts up to this length, attention with all scores in memory is faster than the fused one.

On a processor: three times as fast at 64 tokens in bfloat16, as fast at 256.
"""


Look = Callable[[], None]
"""Called before each product with a matrix, there and back; it may raise."""


def _nothing() -> None:
    """Nobody looks."""


class Linear(nn.Module):  # type: ignore[misc]
    """x W^T + bias, and with a LoRA + alpha / rank (x A^T) B^T: W is never changed, nor copied.

    `weight` is (outputs, inputs), `lora_a` (rank, inputs) and `lora_b` (outputs, rank).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_parameter("lora_a", None)
        self.register_parameter("lora_b", None)
        self.alpha = 0.0
        self.look: Look = _nothing

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), in the dtype of the weight."""
        if self.lora_a is None:
            self.look()
            return F.linear(x, self.weight, self.bias)
        scale = self.alpha / len(self.lora_a)
        found: Tensor = LowRank.apply(
            x, self.weight, self.bias, self.lora_a, self.lora_b, scale, self.look
        )
        return found


@contextlib.contextmanager
def looking(network: nn.Module, look: Look) -> Iterator[None]:
    """Have `look` called before each product of the network meanwhile.

    A pass of a large model takes seconds, and a product a tenth of one: what is to stop stops.
    """
    linears = [module for module in network.modules() if isinstance(module, Linear)]
    before = [linear.look for linear in linears]
    for linear in linears:
        linear.look = look
    try:
        yield
    finally:
        for linear, kept in zip(linears, before, strict=True):
            linear.look = kept


class Norm(nn.Module):  # type: ignore[misc]
    """By root mean square (Zhang and Sennrich 2019, arXiv 1910.07467), or LayerNorm; in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epsilon: float, is_rms: bool) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.epsilon, self.is_rms = epsilon, is_rms

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(..., width) -> the same shape, of `dtype`."""
        if self.is_rms:
            found: Tensor = RmsNorm.apply(x, self.weight, self.epsilon, dtype)
            return found
        shape = self.weight.shape
        return F.layer_norm(x.float(), shape, self.weight, self.bias, self.epsilon).to(dtype)


class Block(nn.Module):  # type: ignore[misc]
    """One layer; its modules are the tensors of the file that begin with `blk.N.`."""

    def __init__(
        self, weights: dict[str, Tensor], known: Architecture, numbers: Numbers, window: int
    ) -> None:
        super().__init__()
        self.known, self.numbers, self.window = known, numbers, window
        for key, weight in weights.items():
            name, _, kind = key.rpartition(".")
            if kind == "weight":
                bias = weights.get(f"{name}.bias")
                self.add_module(
                    name,
                    Norm(weight, bias, numbers.epsilon, known.is_rms)
                    if weight.dim() == 1
                    else Linear(weight, bias),
                )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, length, width) in float32 -> the same."""
        dtype = self.attn_output.weight.dtype
        read = self.attn_norm(x, dtype)
        said = self._after("post_attention_norm", self._attention(read, cos, sin))
        if self.known.parallel:
            return x + said + self._feed_forward(read)
        x = x + said
        return x + self._after("post_ffw_norm", self._feed_forward(self.ffn_norm(x, dtype)))

    def _after(self, name: str, x: Tensor) -> Tensor:
        """What the norm called `name` makes of x, where there is one."""
        return getattr(self, name)(x) if hasattr(self, name) else x

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (-1, self.numbers.head)) for part in self._projected(x))
        q = Turn.apply(self._after("attn_q_norm", q), cos, sin, self.known.adjacent)
        k = Turn.apply(self._after("attn_k_norm", k), cos, sin, self.known.adjacent)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        is_short = x.shape[1] <= SHORT
        said = self._scored(q, k, v) if is_short or self.numbers.soft_cap else self._fused(q, k, v)
        return self.attn_output(said.transpose(1, 2).flatten(-2))

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all heads."""
        if not hasattr(self, "attn_qkv"):
            return self.attn_q(x), self.attn_k(x), self.attn_v(x)
        shared = self.numbers.shared * self.numbers.head
        fused: Tensor = self.attn_qkv(x)
        return tuple(fused.split((self.numbers.heads * self.numbers.head, shared, shared), -1))

    def _scored(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What each token takes of itself and those before it, all scores in memory, in float32.

        Queries are (batch, heads, length, head), keys and values have fewer heads: neighbours share
        them. The result is like the queries, in the dtype of the values.
        """
        batch, shared, length, head = k.shape
        group, cap = q.shape[1] // shared, self.numbers.soft_cap
        q = q.reshape(batch * shared, group * length, head)
        k, v = k.flatten(0, 1), v.flatten(0, 1)
        hidden = torch.zeros(length, length).masked_fill_(~self._seen(length), -torch.inf)
        hidden = hidden.repeat(group, 1)
        if cap:
            scores = cap * torch.tanh(q @ k.mT * (self.numbers.scale / cap)) + hidden
        else:
            scores = torch.baddbmm(hidden, q, k.mT, alpha=self.numbers.scale)
        return (scores.softmax(-1).to(v.dtype) @ v).view(batch, -1, length, head)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As `_scored`, without the scores in memory."""
        length = q.shape[2]
        is_windowed = 0 < self.window < length
        return F.scaled_dot_product_attention(
            q.to(v.dtype),
            k.to(v.dtype),
            v,
            attn_mask=self._seen(length) if is_windowed else None,
            is_causal=not is_windowed,
            scale=self.numbers.scale,
            enable_gqa=True,
        )

    def _seen(self, length: int) -> Tensor:
        """Which tokens (columns) each token (row) sees: those before it, in its window, and it."""
        seen = torch.ones(length, length, dtype=torch.bool).tril_()
        return seen.triu_(1 - self.window) if self.window else seen

    def _feed_forward(self, x: Tensor) -> Tensor:
        up = self.ffn_up(x)
        if hasattr(self, "ffn_gate"):
            return self.ffn_down(self._activated(self.ffn_gate(x)) * up)
        if up.shape[-1] == self.ffn_down.weight.shape[1]:
            return self.ffn_down(self._activated(up))
        gate, up = up.chunk(2, -1)
        return self.ffn_down(self._activated(gate) * up)

    def _activated(self, x: Tensor) -> Tensor:
        """SiLU, or GELU as it is approximated with tanh (Hendrycks and Gimpel 2016)."""
        return F.silu(x) if self.known.activation == "silu" else F.gelu(x, approximate="tanh")


class Network(nn.Module):  # type: ignore[misc]
    """A decoder over a GGUF file's `weights` in the file's own names and layout.

    `checkpointing` keeps only what goes into each block for the backward pass and computes the rest
    again: a third slower, and a long text takes a fraction of the memory. May be set at any time.
    """

    def __init__(self, header: Header, weights: dict[str, Tensor], n_ctx: int) -> None:
        super().__init__()
        self.header = header
        self.known, self.numbers = architecture_of(header), numbers_of(header)
        self.checkpointing = False
        self.register_buffer("token_embd", weights["token_embd.weight"])
        # The output may be the embedding: one tensor, once in memory.
        output = weights.get("output.weight", self.token_embd)
        self.output = Linear(output, weights.get("output.bias"))
        self.output_norm = Norm(
            weights["output_norm.weight"],
            weights.get("output_norm.bias"),
            self.numbers.epsilon,
            self.known.is_rms,
        )
        self.blk = nn.ModuleList(
            Block(_inside(weights, f"blk.{n}."), self.known, self.numbers, window)
            for n, window in enumerate(self.numbers.windows)
        )
        factors = weights.get(factors_name(header, n_ctx))
        self._rotaries = {
            is_local: rotary_of(header, self.known, self.numbers.head, factors, is_local=is_local)
            for is_local in (False, True)
        }

    def hidden(self, tokens: Tensor) -> Tensor:
        """(batch, length) of int64 -> (batch, length, width) in float32, after the last norm.

        Each row of `tokens` is a text of its own from its first token on. Shorter ones are padded
        on the right with any token: no token sees what comes after it.
        """
        x = F.embedding(tokens, self.token_embd).float()
        if self.known.scaled:
            x = x * self.numbers.width**0.5
        turns = {key: one.at(tokens.shape[1]) for key, one in self._rotaries.items()}
        for block in self.blk:
            turn = turns[block.window > 0]
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, *turn, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, *turn)
        return self.output_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width), rows of `hidden`'s result -> (..., n_vocab) in float32."""
        found = self.output(hidden.to(self.output.weight.dtype)).float()
        cap = self.numbers.final_soft_cap
        return cap * torch.tanh(found / cap) if cap else found


def load_network(
    path: str | os.PathLike[str],
    dtype: torch.dtype = torch.bfloat16,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    *,
    n_ctx: int = DEFAULT_N_CTX,
) -> Network:
    """The model in the GGUF file at `path`, its matrices of `dtype`, with nothing to train yet.

    It takes its parameters times the size of `dtype`, and little more while it is read. `n_ctx` is
    the context, in tokens, in which llama.cpp will run it. Raises `ModelFileError` for an unsound
    file, `UsageError` for an architecture or a type that is not known here, and `Cancelled`.
    """
    with open_model(Path(path)) as file:
        architecture_of(file.header)
        weights = dict(read_weights(file, dtype, progress, cancel))
        file.check_unchanged()
        return Network(file.header, weights, n_ctx)


def _inside(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
