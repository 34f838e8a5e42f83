"""Writes a copy of a GGUF model whose tokens have other ids, or more of them: the same model.

What the copy says, under the old ids, must be what the model says: a check of any alignment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeproxy.gguf import Header, Tensor, read
from edgeproxy.session.load import load
from edgeproxy.trios.find import Recipe, Role

PADDING = -1
"""In the place of an old id: a new token that the model does not use."""

_UNUSED = 5
_BY_TOKEN = ("token_embd.weight", "output.weight", "output.bias")
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


class Value(NamedTuple):
    """A metadata value as it stands in a file: its type's number, and its bytes."""

    kind: int
    data: bytes


class Place(NamedTuple):
    """A tensor in a header: the number of its type, its size in bytes, fastest dimension first."""

    name: str
    shape: tuple[int, ...]
    kind: int
    size: int


def renumber(source: Path, target: Path, order: Sequence[int]) -> Path:
    """Write the model at `source` to `target`, whose token n is the old token `order[n]`.

    `order` holds every old id once, and `PADDING` anywhere: such a token is unused, and has the
    weights of another one, since those of a token that was never trained may be anything.
    """
    header, content = read(source), source.read_bytes()
    metadata = {
        key: changed(key, value, order) for key, value in metadata_of(content, header).items()
    }
    tensors = [_weights(content, header, tensor, order) for tensor in header.tensors]
    places = [Place(t.name, shape, t.type.id, len(data)) for t, shape, data in tensors]
    parts = [header_of(metadata, places), *(aligned(data) for _, _, data in tensors)]
    target.write_bytes(b"".join(parts))
    return target


def header_of(metadata: Mapping[str, Value], places: Sequence[Place]) -> bytes:
    """What stands before the tensors' data; that of each begins at the alignment."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(places), len(metadata))]
    for key, value in metadata.items():
        parts += [text(key.encode()), struct.pack("<I", value.kind), value.data]
    offset = 0
    for name, shape, kind, size in places:
        place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        parts += [text(name.encode()), place]
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return aligned(b"".join(parts))


def shuffled(n_tokens: int, seed: int, padding: int = 0) -> list[int]:
    """An order for `renumber`: all ids in a random one, `padding` unused tokens among them."""
    ids = [*range(n_tokens), *[PADDING] * padding]
    return [ids[n] for n in np.random.default_rng(seed).permutation(len(ids))]


def padded(n_tokens: int, padding: int) -> list[int]:
    """An order for `renumber`: all ids as they are, and `padding` unused tokens after them."""
    return [*range(n_tokens), *[PADDING] * padding]


def renumber_pair(recipe: Recipe, folder: Path, orders: Sequence[Sequence[int]]) -> Recipe:
    """The trio with copies of its expert and anti-expert, renumbered, in `folder`."""
    expert, anti_expert = (
        Role(renumber(role.path, folder / role.path.name, order), role.prompt)
        for role, order in zip((recipe.expert, recipe.anti_expert), orders, strict=True)
    )
    return replace(recipe, expert=expert, anti_expert=anti_expert)


def replies(
    recipe: Recipe, questions: Iterable[str], max_tokens: int = 48
) -> Iterator[list[int | None]]:
    """The tokens that a trio emits for each question, greedily."""
    with load(recipe) as session:
        for question in questions:
            yield [piece.token for piece in session.chat(question, max_tokens=max_tokens)]


def metadata_of(content: bytes, header: Header) -> dict[str, Value]:
    """Every value with its type, which `Header` does not keep."""
    found = {}
    at = 24
    for _ in header.metadata:
        key, at = _string(content, at)
        (kind,) = struct.unpack_from("<I", content, at)
        start = at + 4
        at = _end(content, start, kind)
        found[key.decode()] = Value(kind, content[start:at])
    return found


def _end(content: bytes, at: int, kind: int) -> int:
    """Where the value of type `kind` that begins at `at` ends."""
    if kind == _STRING:
        return _string(content, at)[1]
    if kind != _ARRAY:
        return at + _SIZES[kind]
    kind, count = struct.unpack_from("<IQ", content, at)
    at += 12
    if kind != _STRING:
        return at + int(count) * _SIZES[kind]
    for _ in range(count):
        at = _string(content, at)[1]
    return at


def _string(content: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", content, at)
    at += 8
    return content[at : at + length], at + int(length)


def changed(key: str, value: Value, order: Sequence[int]) -> Value:
    """The metadata value under `key` where the tokens are those of `order` (see `renumber`)."""
    kind, data = value
    if key == "tokenizer.ggml.tokens":
        words, at = [], 12
        while at < len(data):
            word, at = _string(data, at)
            words.append(text(word))
        return _array(data, (words[n] if n >= 0 else _unused(i) for i, n in enumerate(order)))
    if key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
        items = [data[at : at + 4] for at in range(12, len(data), 4)]
        blank = struct.pack("<i", _UNUSED) if key.endswith("type") else bytes(4)
        return _array(data, (items[n] if n >= 0 else blank for n in order))
    if key.endswith("_token_id"):
        return Value(kind, struct.pack("<I", order.index(*struct.unpack("<I", data))))
    if key.endswith(".vocab_size"):
        return Value(kind, struct.pack("<I", len(order)))
    return value


def _array(before: bytes, items: Iterable[bytes]) -> Value:
    """An array like the one in `before` with other items."""
    new = list(items)
    return Value(_ARRAY, before[:4] + struct.pack("<Q", len(new)) + b"".join(new))


def _weights(
    content: bytes, header: Header, tensor: Tensor, order: Sequence[int]
) -> tuple[Tensor, tuple[int, ...], bytes]:
    """A tensor with its new shape and content."""
    start = header.data_offset + tensor.offset
    data = content[start : start + tensor.size]
    if tensor.name not in _BY_TOKEN:
        return tensor, tensor.shape, data
    count = tensor.shape[-1]
    size = len(data) // count
    places = [n if n >= 0 else i % count for i, n in enumerate(order)]
    rows = [data[n * size : (n + 1) * size] for n in places]
    return tensor, (*tensor.shape[:-1], len(order)), b"".join(rows)


def _unused(token: int) -> bytes:
    return text(f"<|unused {token}|>".encode())


def text(data: bytes) -> bytes:
    """A text as a GGUF file has it: its length in bytes, then they."""
    return struct.pack("<Q", len(data)) + data


def aligned(data: bytes) -> bytes:
    """`data` with zeros up to where the next tensor may begin."""
    return data.ljust(-(-len(data) // _ALIGNMENT) * _ALIGNMENT, b"\0")
