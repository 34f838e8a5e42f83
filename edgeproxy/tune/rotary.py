"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864) as llama.cpp computes them.

A pair of numbers of a query or key at position p is turned by the angle p * base^(-2 i / n), i
being the pair's number and n how many numbers of a head are turned. Files change the angles: by a
factor for each pair (Llama 3, LongRoPE), by a scale for all of them, or by YaRN (Peng et al. 2023,
arXiv 2309.00071), which scales slow pairs only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgeproxy.gguf import Header
from edgeproxy.tune.architectures import Architecture

_BASE = 10_000.0
_FAST, _SLOW = 32.0, 1.0
"""YaRN: pairs that turn more often in the original context stay, those that do less are scaled."""


@dataclass(frozen=True)
class Rotary:
    """The angles of one kind of layer: `steps` of shape (pairs,), in radians from token to token.

    Turned pairs become `magnitude` times as long.
    """

    steps: Any
    magnitude: float

    def at(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (length, pairs), of the positions 0 to `length`, in float32."""
        angles = torch.outer(torch.arange(length, dtype=torch.float32), self.steps)
        return angles.cos() * self.magnitude, angles.sin() * self.magnitude


def rotary_of(
    header: Header, known: Architecture, head: int, factors: Tensor | None, *, is_local: bool
) -> Rotary:
    """What a model's layers do, those with a sliding window if `is_local`.

    `factors`, (pairs,), divide the angles. Raises `ModelFileError`.
    """
    name = header.architecture
    n = header.integer(f"{name}.rope.dimension_count", head)
    base = header.number(f"{name}.rope.freq_base", _BASE)
    kind = header.text(f"{name}.rope.scaling.type", "linear")
    old = header.number(f"{name}.rope.scale_linear", 0.0)
    factor = header.number(f"{name}.rope.scaling.factor", old) or 1.0
    scale = full_scale = 1.0 if kind == "none" else 1.0 / factor
    if is_local:
        scale = 1.0 if known.local_base else 1.0 / factor
        base = header.number(f"{name}.rope.freq_base_swa", known.local_base or base)
    steps = base ** (-torch.arange(0, n, 2, dtype=torch.float64) / n)
    if factors is not None:
        steps = steps / factors.double()
    magnitude = header.number(f"{name}.rope.scaling.attn_factor", 1.0)
    if kind == "yarn":
        kept = _kept(n, _original_context(header), base)
        steps = steps * (scale * (1.0 - kept) + kept)
        # llama.cpp corrects by the scale of layers without a window what it multiplies by each.
        longer = 1.0 - 0.1 * math.log(full_scale)
        magnitude *= (longer if full_scale < 1.0 else 1.0) / longer
        magnitude *= 1.0 - 0.1 * math.log(scale)
    else:
        steps = steps * scale
    return Rotary(steps.float(), magnitude)


def factors_name(header: Header, n_ctx: int) -> str:
    """Which tensor's numbers divide the angles in a context of `n_ctx` tokens, where it is there.

    llama.cpp takes long factors for contexts that are longer than the model's original one.
    """
    names = {tensor.name for tensor in header.tensors}
    if "rope_freqs.weight" in names:
        return "rope_freqs.weight"
    is_long = n_ctx > _original_context(header)
    return f"rope_factors_{'long' if is_long else 'short'}.weight"


def _original_context(header: Header) -> int:
    name = header.architecture
    trained = header.integer(f"{name}.context_length")
    return header.integer(f"{name}.rope.scaling.original_context_length", trained)


def _kept(n: int, context: int, base: float) -> Tensor:
    """How much of its own angle each pair keeps under YaRN, (n / 2,), 0 to 1."""

    def pair(turns: float) -> float:
        return n * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(0, math.floor(pair(_FAST))), min(n - 1, math.ceil(pair(_SLOW)))
    places = torch.arange(n // 2, dtype=torch.float64)
    return 1.0 - ((places - low) / max(0.001, high - low)).clamp(0.0, 1.0)
