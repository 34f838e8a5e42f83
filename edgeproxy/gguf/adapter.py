"""Checks of a LoRA adapter against the model that it is for, before llama.cpp sees it.

An adapter changes matrices W of its model, each to W + alpha / rank * B A: it holds `NAME.lora_a`,
A with the shape (inputs, rank), and `NAME.lora_b`, B with the shape (rank, outputs), fastest
dimension first. Of an embedding, whose inputs are looked up, they are (rank, tokens) and
(rank, width). llama.cpp compares few of these lengths and asserts, or worse, on the others.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from edgeproxy.errors import UsageError
from edgeproxy.gguf.file import ModelFile, open_checked
from edgeproxy.gguf.header import CONVERT, Header, Tensor
from edgeproxy.gguf.parse import parse

MAX_RANK = 1024
MAX_ALPHA = 1e6
MAX_SCALE = 100.0
_TYPES = ("f32", "f16", "bf16", "q8_0")
_EMBEDDING = "token_embd.weight"
_OTHER = "use an adapter that was made for this model"
_CHUNK = 32 << 20


@dataclass(frozen=True)
class Adapter:
    """What an adapter is, from its header: `ranks` is the lowest rank and the highest."""

    header: Header
    alpha: float
    ranks: tuple[int, int]

    @property
    def n_params(self) -> int:
        """How many numbers it holds."""
        return sum(t.size // t.type.size * t.type.block for t in self.header.tensors)

    @property
    def n_bytes(self) -> int:
        """What they take of memory."""
        return sum(tensor.size for tensor in self.header.tensors)

    @property
    def n_matrices(self) -> int:
        """How many matrices of the model it changes."""
        return len(self.header.tensors) // 2


def open_adapter(path: str | os.PathLike[str], model: Header) -> ModelFile:
    """Open the LoRA adapter at `path` and check all of it against the `model` that it is for.

    Raises `ModelFileError` for everything that is not a sound GGUF adapter of type LoRA for a model
    of this architecture with matrices of these names and shapes. The numbers are read: one that is
    not finite is an error too.
    """

    def check(file: ModelFile) -> None:
        check_adapter(file.header, model)
        _check_numbers(file)

    return open_checked(Path(path), check)


def read_adapter(path: str | os.PathLike[str], model: Header) -> Adapter:
    """What the adapter at `path` is; as `open_adapter`, but its numbers are not read."""
    with open_checked(Path(path), lambda file: None) as file:
        return check_adapter(file.header, model)


def read_adapter_inside(file: FileIO, path: Path, size: int, model: Header) -> Adapter:
    """What the adapter of `size` bytes is at which `file` stands; see `read_inside`."""
    return check_adapter(parse(file, path, size), model)


def check_scale(scale: float) -> float:
    """How much of an adapter is added, if it is possible: 1 as it was trained. Or `UsageError`."""
    if not (math.isfinite(scale) and 0.0 <= scale <= MAX_SCALE):
        raise UsageError(f"the scale of an adapter must be 0 to {MAX_SCALE:g}, not {scale}")
    return scale


def check_adapter(header: Header, model: Header) -> Adapter:
    """Check an adapter's header against that of its model. Raises `ModelFileError`."""
    kind = header.text("general.type", "model")
    if kind != "adapter":
        raise header.error(
            f"it holds {kind!r}, not an adapter", "use a LoRA adapter in GGUF format"
        )
    if header.text("adapter.type") != "lora":
        raise header.error(f"it is an adapter of type {header.text('adapter.type')!r}, not a LoRA")
    for key in header.metadata:
        if key.startswith("adapter.") and key not in ("adapter.type", "adapter.lora.alpha"):
            raise header.error(f"it has {key}, which edgeproxy does not know", "use a plain LoRA")
    if header.architecture != model.architecture:
        raise header.error(
            f"it is for {header.architecture} models, and {model.path} is {model.architecture}",
            _OTHER,
        )
    alpha = header.number("adapter.lora.alpha")
    # llama.cpp takes 0 for "as it is", which is not what training with it did.
    if not 0.0 < alpha <= MAX_ALPHA:
        raise header.error(
            f"adapter.lora.alpha is {alpha:g}, not above 0 and at most 10^6", CONVERT
        )
    ranks = _check_pairs(header, model)
    return Adapter(header, alpha, (min(ranks), max(ranks)))


def _check_pairs(header: Header, model: Header) -> list[int]:
    """Check that the tensors are pairs that fit matrices of the model; the ranks of all pairs."""
    tensors = {tensor.name: tensor for tensor in header.tensors}
    matrices = {tensor.name: tensor for tensor in model.tensors}
    if not tensors:
        raise header.error("it changes nothing: it has no tensors", CONVERT)
    ranks = []
    for name, tensor in tensors.items():
        matrix, dot, part = name.rpartition(".lora_")
        if not dot or part not in ("a", "b"):
            raise header.error(f"the tensor {name} is no part of a LoRA", CONVERT)
        if tensor.type.name not in _TYPES:
            raise header.error(
                f"the tensor {name} has the type {tensor.type.name}, not one of {', '.join(_TYPES)}"
            )
        other = tensors.get(f"{matrix}.lora_{'b' if part == 'a' else 'a'}")
        if other is None:
            raise header.error(f"the tensor {name} is there without the other of its pair", CONVERT)
        if part == "a":
            ranks.append(_check_pair(header, model, matrices.get(matrix), tensor, other))
    return ranks


def _check_pair(header: Header, model: Header, matrix: Tensor | None, a: Tensor, b: Tensor) -> int:
    """Check one pair against its matrix; its rank."""
    name = a.name.removesuffix(".lora_a")
    if matrix is None:
        raise header.error(f"it changes {name}, which {model.path} does not have", _OTHER)
    if len(matrix.shape) < 2 or not name.endswith(".weight"):
        raise header.error(f"it changes {name}, which is no matrix", _OTHER)
    rank = b.shape[0]
    inputs, outputs, *experts = matrix.shape
    expected = (inputs, rank, *experts), (rank, outputs, *experts)
    if name == _EMBEDDING:
        if all(tensor.name != "output.weight" for tensor in model.tensors):
            raise header.error(f"it changes {name}, which is this model's output as well", _OTHER)
        expected = (rank, outputs), (rank, inputs)
    if (a.shape, b.shape) != expected:
        raise header.error(
            f"its change of {name} has the shapes {a.shape} and {b.shape}, which do not fit "
            f"{matrix.shape}",
            _OTHER,
        )
    if rank > MAX_RANK:
        raise header.error(f"its change of {name} has the rank {rank}, more than {MAX_RANK}")
    return rank


def _check_numbers(file: ModelFile) -> None:
    """Check that all numbers are finite. Raises `ModelFileError`."""
    header = file.header
    for tensor in header.tensors:
        start, end = tensor.offset, tensor.offset + tensor.size
        step = _CHUNK // tensor.type.size * tensor.type.size
        for at in range(start, end, step):
            data = file.read_at(header.data_offset + at, min(step, end - at))
            if not _is_finite(data, tensor.type.name):
                raise header.error(f"the tensor {tensor.name} has a number that is not finite")


def _is_finite(data: bytes, kind: str) -> bool:
    """Whether all numbers in `data` are finite; of q8_0 those are that multiply each block."""
    if kind == "bf16":
        return not (np.frombuffer(data, "<u2") & 0x7F80 == 0x7F80).any()
    if kind == "q8_0":
        data = np.frombuffer(data, np.uint8).reshape(-1, 34)[:, :2].tobytes()
    return bool(np.isfinite(np.frombuffer(data, "<f4" if kind == "f32" else "<f2")).all())
