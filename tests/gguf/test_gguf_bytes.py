"""The GGUF validator: damaged bytes, and lengths that lie, cost neither a crash nor memory."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import read
from edgeproxy.gguf.parse import MAX_HEADER
from tests.helpers.gguf_changes import refusal
from tests.helpers.gguf_files import ARCHITECTURES, Draft, Raw, draft


@pytest.fixture(scope="module")
def sound() -> tuple[bytes, int]:
    """A sound file's bytes, and how many of them are its header."""
    made = draft()
    return made.bytes(), len(made.header())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"llama.context_length", b"llama.attention.scal", r"lacks llama\.context_length"),
        (b"tokenizer.ggml.merges", b"tokenizer.ggml.tokens", "the key tokenizer.ggml.tokens twice"),
        (b"blk.1.attn_q.weight", b"blk.0.attn_q.weight", "the tensor blk.0.attn_q.weight twice"),
        (b"llama.rope.freq_base", b"llama.rope.free_base", "a damaged llama.rope.freq_base"),
    ],
)
def test_a_renamed_key(
    old: bytes, new: bytes, said: str, sound: tuple[bytes, int], tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(sound[0].replace(old, new))
    with pytest.raises(ModelFileError, match=said):
        read(tmp_path / "model.gguf")


def test_an_overlapping_tensor(sound: tuple[bytes, int], tmp_path: Path) -> None:
    made = draft()
    first, second = list(made.tensors)[:2]
    offset = struct.pack("<Q", 32 * 268 * 4)
    assert offset in sound[0], (first, second)
    for wrong in (0, 32, 2**63, 2**64 - 32):
        (tmp_path / "model.gguf").write_bytes(sound[0].replace(offset, struct.pack("<Q", wrong), 1))
        assert f"the tensor {second} starts at {wrong}" in refusal(tmp_path / "model.gguf")


def test_truncated_or_longer(sound: tuple[bytes, int], tmp_path: Path) -> None:
    data, _ = sound
    path = tmp_path / "model.gguf"
    path.write_bytes(data[:-33])
    assert refusal(path) == (
        f"it is truncated: {len(data) - 33} of {len(data)} bytes; download or copy the file again"
    )
    path.write_bytes(data + bytes(33))
    assert "it is 33 bytes longer than its header declares" in refusal(path)


def test_every_truncation_of_the_header_is_refused(
    sound: tuple[bytes, int], tmp_path: Path
) -> None:
    data, header = sound
    path = tmp_path / "model.gguf"
    for length in range(1, header, 37):
        path.write_bytes(data[:length])
        assert refusal(path)


def reads_or_refuses(path: Path, data: bytes) -> bool:
    """Whether damaged bytes read; anything but reading or `ModelFileError` fails the test."""
    path.write_bytes(data)
    try:
        read(path)
    except ModelFileError:
        return False
    return True


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_are_refused_or_read(architecture: str, seed: int, tmp_path: Path) -> None:
    source = random.Random(f"{architecture} {seed}")
    made = draft(architecture)
    data, header = made.bytes(), len(made.header())
    for _ in range(30):
        damaged = bytearray(data)
        for _ in range(source.choice((1, 1, 2, 8))):
            damaged[source.randrange(header)] = source.choice(
                (0, 1, 127, 255, source.randrange(256))
            )
        reads_or_refuses(tmp_path / "model.gguf", bytes(damaged))


@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_magic(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    assert not reads_or_refuses(path, b"GGUF" + struct.pack("<I", 3) + data)


@pytest.mark.slow
@given(
    key=st.sampled_from(list(draft().metadata)),
    value=st.one_of(
        st.integers(0, 2**32 - 1),
        st.floats(width=32),
        st.booleans(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1),
        st.lists(st.text(max_size=3).filter(lambda text: text.isascii()), min_size=1),
    ),
)
def test_any_value_of_any_key(
    key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = draft()
    made.metadata[key] = value
    if key == "general.alignment":
        return
    reads_or_refuses(tmp_path_factory.getbasetemp() / "any.gguf", made.bytes())


@pytest.mark.parametrize(
    "value",
    [
        Raw(9, struct.pack("<IQ", 8, 2**21)),
        Raw(9, struct.pack("<IQ", 12, 2**21)),
        Raw(9, struct.pack("<IQ", 4, 2**62)),
        Raw(8, struct.pack("<Q", 2**24)),
        Raw(8, struct.pack("<Q", 2**64 - 1)),
    ],
)
def test_a_lying_length_costs_no_memory(value: Raw, tmp_path: Path) -> None:
    made = draft()
    made.metadata["a.lie"] = value
    path = made.write(tmp_path / "model.gguf")
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    made = Draft(metadata={"general.architecture": "llama"})
    for n in range(5):
        made.metadata[f"a.text{n}"] = Raw(8, struct.pack("<Q", 1 << 24))
    data = made.header()
    with path.open("wb") as file:  # sparse: each text is a hole of 16 MiB
        file.write(data[: data.index(b"a.text1") - 8])
        for n in range(1, 6):
            file.seek(1 << 24, os.SEEK_CUR)
            file.write(
                struct.pack("<Q", 7) + f"a.text{n}".encode() + struct.pack("<IQ", 8, 1 << 24)
            )
        file.truncate(file.tell() + (1 << 30))
    assert f"its header is larger than {MAX_HEADER >> 20} MiB" in refusal(path)


def test_tensor_data_is_not_read(tmp_path: Path) -> None:
    """A file of 34 GB, nearly all of it a hole, is checked as fast as a small one."""
    made = draft()
    width = 1 << 15
    made.metadata["llama.feed_forward_length"] = 1 << 22
    for block in range(2):
        made.tensors[f"blk.{block}.ffn_gate.weight"] = ((32, 1 << 22), 0)
        made.tensors[f"blk.{block}.ffn_up.weight"] = ((32, 1 << 22), 0)
        made.tensors[f"blk.{block}.ffn_down.weight"] = ((1 << 22, 32), 0)
    path = tmp_path / "model.gguf"
    path.write_bytes(made.header())
    with pytest.raises(ModelFileError, match=r"it is truncated: \d+ of \d{10} bytes") as caught:
        read(path)
    os.truncate(path, int(caught.value.what.split(" of ")[1].split()[0]))
    tracemalloc.start()
    try:
        assert read(path).file_size > width
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
