"""The weights of a GGUF file as PyTorch's tensors, one after the other and without a second copy.

May touch: the model's file, read-only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import gguf
import numpy as np
import torch
from torch import Tensor

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.gguf import ModelFile
from edgeproxy.gguf import Tensor as Place

Progress = Callable[[float], None]
"""Called with the share that has been read, 0 to 1."""

AT_ONCE = 1 << 20
"""How many numbers are made at once: more fall out of the processor's caches, and take memory."""


def read_weights(
    file: ModelFile,
    dtype: torch.dtype,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """(name, numbers) of every tensor of the open `file`, slowest dimension first.

    Matrices and biases are made of `dtype`; norms and rotary factors stay float32. Raises
    `ModelFileError` where the file ends early, `UsageError` for a type that gguf cannot read, and
    `Cancelled`.
    """
    header = file.header
    check_types(file)
    total, done = header.n_params, 0
    for place in header.tensors:
        is_exact = "norm" in place.name or place.name.startswith("rope_")
        made = torch.empty(place.shape[::-1], dtype=torch.float32 if is_exact else dtype)
        flat = made.view(-1)
        for start, numbers in _pieces(file, place):
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{header.path}: reading it was cancelled")
            flat[start : start + len(numbers)] = torch.from_numpy(numbers)
            done += len(numbers)
            if progress is not None:
                progress(done / total)
        yield place.name, made


def check_types(file: ModelFile) -> None:
    """Check that gguf can read all types of the file. Raises `UsageError`."""
    for place in file.header.tensors:
        try:
            kind = gguf.GGMLQuantizationType(place.type.id)
            gguf.quants.dequantize(np.zeros(place.type.size, np.uint8), kind)
        except (ValueError, NotImplementedError):
            raise UsageError(
                f"{file.header.path}: {place.name} is of the type {place.type.name}, which the "
                "installed gguf cannot read; use a file of another quantisation, such as Q8_0 or "
                "Q4_K_M, or `pip install --upgrade gguf`"
            ) from None


def _pieces(file: ModelFile, place: Place) -> Iterator[tuple[int, np.ndarray]]:
    """(where it begins, numbers in float32) of the pieces of a tensor."""
    kind = gguf.GGMLQuantizationType(place.type.id)
    n_blocks = math.prod(place.shape) // place.type.block
    step = max(1, AT_ONCE // place.type.block)
    start = file.header.data_offset + place.offset
    for at in range(0, n_blocks, step):
        n = min(step, n_blocks - at)
        data = file.read_at(start + at * place.type.size, n * place.type.size)
        raw = np.frombuffer(bytearray(data), np.uint8)
        numbers = gguf.quants.dequantize(raw, kind)
        yield at * place.type.block, numbers.reshape(-1)
