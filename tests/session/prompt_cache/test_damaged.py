"""Prompt caches that are damaged, or of other models: each is found out and made anew."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import EngineError
from edgeproxy.session.prompt_cache.statefile import MAGIC
from tests.helpers.fakes import random_model, random_trio
from tests.helpers.prompt_caches import beginning, check, evaluated, fakes, fill, posix


def flips(data: bytes) -> list[int]:
    """Places in each part of a file: its numbers, header, checksum, and three states."""
    length = struct.unpack_from("<I", data, 12)[0]
    end = 16 + length
    source = random.Random(1)
    drawn = [source.randrange(16, end) for _ in range(25)]
    drawn += [source.randrange(end + 32, len(data)) for _ in range(20)]
    sums = [data.index(part["sha256"].encode()) for part in json.loads(data[16:end])]
    return [8, 11, 12, 13, 15, 16, end - 1, end, end + 31, end + 32, len(data) - 1, *sums, *drawn]


def test_every_flipped_byte_is_found(path: Path, made: bytes) -> None:
    for place in flips(made):
        damaged = bytearray(made)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        trio = random_trio()
        done = fill(path, trio)
        assert done.doubt is not None
        assert done.doubt.startswith(f"{path}: ")
        assert "damaged" in done.doubt
        assert [model.history for model in fakes(trio)] == list(beginning())
        assert path.read_bytes() == made


def test_every_truncated_file_is_found(path: Path, made: bytes) -> None:
    # An empty file is nobody's, and no news.
    lengths = [*range(1, 20), *range(20, len(made), 997), len(made) - 1]
    for data in (*(made[:length] for length in lengths), made + b"\0"):
        path.write_bytes(data)
        trio = random_trio()
        assert fill(path, trio).doubt == f"{path}: it is damaged; it was made anew"
        assert [model.history for model in fakes(trio)] == list(beginning())
        assert path.read_bytes() == made


def test_an_empty_file_is_filled(path: Path) -> None:
    path.touch()
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt is None
    check(path, trio, done)


def sealed(header: bytes, states: bytes = b"") -> bytes:
    """A file with this header whose checksum is right."""
    head = struct.pack("<8sII", MAGIC, 1, len(header)) + header
    return head + hashlib.sha256(head).digest() + states


def a_part(**other: Any) -> dict[str, Any]:
    state = b"[1, 2]"
    found = hashlib.sha256(state).hexdigest()
    return {"origin": {}, "tokens": [1, 2], "size": len(state), "sha256": found, **other}


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        "text",
        {},
        [],
        [1, 2, 3],
        [a_part()] * 2,
        [a_part()] * 4,
        [{**a_part(), "more": 1}] * 3,
        [{"origin": {}}] * 3,
        [a_part(origin=[])] * 3,
        [a_part(tokens=[])] * 3,
        [a_part(tokens={})] * 3,
        [a_part(tokens=[-1, 2])] * 3,
        [a_part(tokens=[True, 2])] * 3,
        [a_part(tokens=[1.0, 2])] * 3,
        [a_part(size=0)] * 3,
        [a_part(size=-6)] * 3,
        [a_part(size=6.0)] * 3,
        [a_part(size="6")] * 3,
        [a_part(size=1 << 62)] * 3,
        [a_part(size=7), a_part(), a_part()],
    ],
    ids=repr,
)
def test_a_header_of_nonsense_with_a_right_checksum(path: Path, content: Any) -> None:
    path.write_bytes(sealed(json.dumps(content).encode(), b"[1, 2]" * 3))
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)


@pytest.mark.parametrize("header", [b"", b"{", b"\xff", b"[" * 200_000], ids=lambda h: repr(h[:4]))
def test_a_header_that_is_not_json_with_a_right_checksum(path: Path, header: bytes) -> None:
    path.write_bytes(sealed(header))
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)


@posix
def test_lengths_beyond_all_reason_allocate_nothing(path: Path) -> None:
    size = 1 << 40
    part = a_part(size=size, origin=random_model(1).origin())
    path.write_bytes(sealed(json.dumps([part] * 3).encode()))
    os.truncate(path, path.stat().st_size + 3 * size)  # takes no room: it is a hole
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)
    path.write_bytes(struct.pack("<8sII", MAGIC, 1, 0xFFFFFFFF))
    os.truncate(path, 1 << 40)
    check(path, trio := random_trio(), fill(path, trio))


def test_the_first_state_is_taken_back_when_the_second_is_damaged(path: Path, made: bytes) -> None:
    length = struct.unpack_from("<I", made, 12)[0]
    first = json.loads(made[16 : 16 + length])[0]["size"]
    damaged = bytearray(made)
    damaged[16 + length + 32 + first] ^= 1
    path.write_bytes(damaged)
    trio = random_trio()
    fill(path, trio)
    assert [model.adopted > 0 for model in fakes(trio)] == [True, False, False]
    assert evaluated(trio) == [len(part) for part in beginning()]


@pytest.mark.parametrize("role", range(3))
def test_another_model_for_one_role(path: Path, role: int) -> None:
    fill(path)
    trio = random_trio()
    fakes(trio)[role].name = "another"
    done = fill(path, trio)
    whose = ("base", "expert", "anti-expert")[role]
    said = f"it was made with another model for the {whose}; it was made anew"
    assert done.doubt == f"{path}: {said}"
    assert done.spared == 0
    assert evaluated(trio) == [len(part) for part in beginning()]
    assert fill(path, trio).doubt is None


def test_another_context_length(path: Path) -> None:
    fill(path, random_trio(n_ctx=2048))
    done = fill(path)
    assert done.doubt is not None
    assert "another context length for the base" in done.doubt


def test_a_state_that_a_model_does_not_take(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)

    def refuse(*_: object) -> None:
        raise EngineError("llama.cpp does not take it")

    trio = random_trio()
    with monkeypatch.context() as patch:
        patch.setattr(fakes(trio)[2], "adopt", refuse)
        done = fill(path, trio)
    assert done.doubt is not None
    assert "could not be put back (llama.cpp does not take it)" in done.doubt
    check(path, trio, done)
