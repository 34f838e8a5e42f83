"""What a GGUF file declares about itself, as frozen data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from edgeproxy.errors import ModelFileError

AGAIN = "download or copy the file again"
CONVERT = "convert the model again with a current llama.cpp, or use another file"


class TensorType(NamedTuple):
    """How numbers are stored: `block` of them take `size` bytes."""

    id: int
    name: str
    block: int
    size: int

    @property
    def is_weight(self) -> bool:
        """Whether llama.cpp multiplies by matrices of this type; the others are intermediate."""
        return self.name not in ("q8_1", "q8_K", "i8", "i16", "i32", "i64", "f64")


def _types(text: str) -> dict[int, TensorType]:
    table = {}
    for line in text.split("\n"):
        for entry in line.split(","):
            number, name, block, size = entry.split()
            table[int(number)] = TensorType(int(number), name, int(block), int(size))
    return table


TENSOR_TYPES: Mapping[int, TensorType] = _types(
    """0 f32 1 4, 1 f16 1 2, 30 bf16 1 2, 28 f64 1 8, 24 i8 1 1, 25 i16 1 2, 26 i32 1 4, 27 i64 1 8
2 q4_0 32 18, 3 q4_1 32 20, 6 q5_0 32 22, 7 q5_1 32 24, 8 q8_0 32 34, 9 q8_1 32 36
10 q2_K 256 84, 11 q3_K 256 110, 12 q4_K 256 144, 13 q5_K 256 176, 14 q6_K 256 210, 15 q8_K 256 292
16 iq2_xxs 256 66, 17 iq2_xs 256 74, 18 iq3_xxs 256 98, 19 iq1_s 256 50, 20 iq4_nl 32 18
21 iq3_s 256 110, 22 iq2_s 256 82, 23 iq4_xs 256 136, 29 iq1_m 256 56
34 tq1_0 256 54, 35 tq2_0 256 66, 39 mxfp4 32 17, 40 nvfp4 64 36, 41 q1_0 128 18, 42 q2_0 64 18"""
)
"""The types of llama.cpp; 4, 5, 31-33 and 36-38 were withdrawn."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `shape` has the fastest dimension first, `offset` is from the data's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Header:
    """A GGUF file's header.

    `metadata` maps keys to bool, int, float, str, or a tuple of one of them. `identity` is the
    file's (device, inode, size, modification time in ns) when it was read. `keys_end` is where in
    the file the metadata ends, in bytes. The getters raise
    `ModelFileError` with the key's name when a key is missing without a default, of another kind,
    or not finite.
    """

    path: Path
    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_size: int
    identity: tuple[int, int, int, int]
    keys_end: int = 0

    @property
    def architecture(self) -> str:
        """The family of models, such as `llama`; it prefixes the hyper-parameters' keys."""
        return self.text("general.architecture")

    @property
    def n_params(self) -> int:
        """How many numbers the model's tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def without_tokenizer_lists(self) -> Header:
        """The same header without the tokenizer's tokens and merges, tens of megabytes of it."""
        kept = {
            key: value
            for key, value in self.metadata.items()
            if not (key.startswith("tokenizer.") and isinstance(value, tuple))
        }
        return replace(self, metadata=MappingProxyType(kept))

    def error(self, what: str, remedy: str = AGAIN) -> ModelFileError:
        """An error that names this file, what is wrong with it, and what to do."""
        return ModelFileError(self.path, f"{what}; {remedy}")

    def integer(self, key: str, default: int | None = None) -> int:
        """The whole number under `key`."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{key} is not a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """The finite number under `key`."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{key} is not a number")
        if not math.isfinite(value):
            raise self.error(f"{key} is {value}, not a finite number")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """The text under `key`."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(f"{key} is not text")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """The truth value under `key`."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"{key} is not true or false")
        return value

    def array(
        self, key: str, kind: type, default: tuple[Any, ...] | None = None
    ) -> tuple[Any, ...]:
        """The array under `key`, whose elements are all of `kind`."""
        value = self._get(key, default)
        if not isinstance(value, tuple) or (value and type(value[0]) is not kind):
            raise self.error(f"{key} is not an array of {kind.__name__}")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self.metadata.get(key, default)
        if value is None:
            raise self.error(f"its header lacks {key}", CONVERT)
        return value
