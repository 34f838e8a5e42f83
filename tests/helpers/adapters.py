"""LoRA adapters for the tests: random ones for any model, and the same model with them merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.decode.sample import Sampling
from edgeproxy.gguf import Header, Tensor, open_adapter, read
from edgeproxy.prompts.formats import Message
from edgeproxy.session.session import Session
from edgeproxy.trios.manifest import Recipe, read_recipe
from tests.helpers.gguf_files import Draft

ALPHA = 8.0
F32, F16, BF16, Q8_0 = 0, 1, 30, 8
_DTYPES = {F32: "<f4", F16: "<f2"}
_EMBEDDING = "token_embd.weight"


def matrices(header: Header) -> list[Tensor]:
    """The matrices of a model's blocks, and its output where that is no embedding."""
    return [t for t in header.tensors if len(t.shape) == 2 and t.name != _EMBEDDING]


def adapter(
    header: Header,
    changed: Iterable[Tensor] | None = None,
    *,
    rank: int = 4,
    kind: int = F16,
    seed: int = 0,
    size: float = 0.3,
    **metadata: Any,
) -> Draft:
    """A random adapter of f32 or f16 numbers for the `changed` matrices (all) of a model.

    A change is about `size` times as large as a matrix of random numbers of variance 1 / inputs.
    """
    made = Draft(
        {
            "general.type": "adapter",
            "general.architecture": header.architecture,
            "adapter.type": "lora",
            "adapter.lora.alpha": ALPHA,
            **metadata,
        }
    )
    source = np.random.default_rng(seed)
    for tensor in matrices(header) if changed is None else changed:
        inputs, outputs, *experts = tensor.shape
        shapes = {"a": (inputs, rank, *experts), "b": (rank, outputs, *experts)}
        if tensor.name == _EMBEDDING:
            shapes = {"a": (rank, outputs), "b": (rank, inputs)}
        for part, shape in shapes.items():
            deviation = (size / ALPHA) ** 0.5 * (rank / inputs) ** 0.25
            numbers = source.normal(0.0, deviation, shape[::-1]).astype(_DTYPES[kind])
            made.tensors[f"{tensor.name}.lora_{part}"] = (shape, kind)
            made.data[f"{tensor.name}.lora_{part}"] = numbers.tobytes()
    return made


def numbers(draft: Draft, name: str) -> NDArray[np.float32]:
    """A tensor of an adapter, slowest dimension first."""
    shape, kind = draft.tensors[name]
    flat = np.frombuffer(draft.data[name], _DTYPES[kind])
    return flat.reshape(shape[::-1]).astype(np.float32)


def merged(model: Path, change: Draft, path: Path, scale: float = 1.0) -> Path:
    """Write the f32 or f16 model at `model` with `change` added to its weights, in NumPy."""
    header, data = read(model), bytearray(model.read_bytes())
    factor = scale * change.metadata["adapter.lora.alpha"]
    for tensor in header.tensors:
        if f"{tensor.name}.lora_a" not in change.tensors:
            continue
        a, b = (numbers(change, f"{tensor.name}.lora_{part}") for part in "ab")
        product = a @ b.T if tensor.name == _EMBEDDING else b @ a
        start, dtype = header.data_offset + tensor.offset, _DTYPES[tensor.type.id]
        old = np.frombuffer(bytes(data[start : start + tensor.size]), dtype).astype(np.float32)
        new = old.reshape(product.shape) + factor / b.shape[-1] * product
        data[start : start + tensor.size] = new.astype(dtype).tobytes()
    path.write_bytes(data)
    return path


def renamed(draft: Draft, old: str, new: str) -> Draft:
    """The same adapter with a tensor under another name."""
    tensors = {new if name == old else name: value for name, value in draft.tensors.items()}
    data = {new if name == old else name: value for name, value in draft.data.items()}
    return replace(draft, tensors=tensors, data=data)


def read_draft(path: Path, model: Header) -> Draft:
    """The adapter in a file, for `model`, as something that can be merged."""
    with open_adapter(path, model) as file:
        header, data = file.header, path.read_bytes()
    made = Draft(dict(header.metadata))
    for tensor in header.tensors:
        start = header.data_offset + tensor.offset
        made.tensors[tensor.name] = (tensor.shape, tensor.type.id)
        made.data[tensor.name] = data[start : start + tensor.size]
    return made


def recipe_of(folder: Path, text: str) -> Recipe:
    """The trio whose manifest says this."""
    (folder / "trio.toml").write_text(text, "utf-8")
    return read_recipe(folder)


def says(session: Session, speaker: str | None = None) -> list[int]:
    """The tokens of what a trio, or one of its models alone, says to "Hello"; it does not end."""
    sampling = Sampling(logit_bias=dict.fromkeys(session.trio.vocab.end_of_generation, -1e6))
    if speaker:
        pieces = session.solo(speaker).reply([Message("user", "Hello")], sampling, max_tokens=12)
    else:
        pieces = session.chat("Hello", sampling=sampling, max_tokens=12)
    return [piece.token for piece in pieces if piece.token is not None]
