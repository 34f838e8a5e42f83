"""Checkpoints: what is written is read, nothing half-written stays, what is damaged is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.errors import TuningError
from edgeproxy.tune.checkpoint import Checkpoint, Origin, Position, Way
from edgeproxy.tune.settings import Settings
from tests.helpers.disks import cannot, small_disk
from tests.helpers.tuning import example, toy

KILLS = 10


def made(size: int = 4, step: int = 7) -> Checkpoint:
    def arrays(start: float) -> dict[str, Any]:
        return {
            f"blk.0.{name}.weight.lora_a": np.arange(start, start + size, dtype=np.float32)
            for name in ("attn_q", "ffn_up")
        }

    origin = Origin.of("m" * 64, toy(3), toy(2), Settings())
    position = Position(step=step, seconds=1.5, best_loss=0.1 + 0.2, best_step=5, evaluated=5)
    way = Way(2, "bfloat16", 512)
    return Checkpoint(origin, way, position, arrays(0), arrays(0.1), arrays(0.2), arrays(0.3))


def shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in checkpoint.parameters.items()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, written = tmp_path / "tuning.npz", made()
    written.write(path)
    read = Checkpoint.read(path)
    assert (read.origin, read.way, read.position) == (written.origin, written.way, written.position)
    for kind in ("parameters", "first_moments", "second_moments", "best"):
        own, other = getattr(read, kind), getattr(written, kind)
        assert list(own) == list(other)
        assert all(np.array_equal(own[name], other[name]) for name in other)
    read.check(path, written.origin, shapes(written))


def test_no_best_is_kept_as_none(tmp_path: Path) -> None:
    path, written = tmp_path / "tuning.npz", replace(made(), best={}, position=Position())
    written.write(path)
    read = Checkpoint.read(path)
    assert read.best == {}
    assert read.position == Position()
    read.check(path, written.origin, shapes(written))


def test_the_origin_knows_every_token_and_which_are_replies() -> None:
    def origin(*examples: Any) -> Origin:
        return Origin.of("m", examples, (), Settings())

    one = origin(example([1, 2], [3]))
    assert one == origin(example([1, 2], [3]))
    for other in (
        origin(example([1], [2, 3])),
        origin(example([1, 2], [4])),
        origin(example([1], [2]), example([3], [])),
        origin(example([1, 2], [3]), example([1, 2], [3])),
    ):
        assert one.differences(other) == ["other examples to train on"]


def test_all_differences_are_named() -> None:
    one = Origin("a", "b", "c", {"rate": 0.1, "rank": 4})
    other = Origin("x", "y", "z", {"rate": 0.2, "rank": 4, "seed": 1})
    assert one.differences(other) == [
        "another model file",
        "other examples to train on",
        "other examples held out",
        "rate 0.1 and not 0.2",
        "seed None and not 1",
    ]


def test_a_missing_one_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="leave out --resume"):
        Checkpoint.read(tmp_path / "none.npz")
    with pytest.raises(TuningError, match="directory"):
        Checkpoint.read(tmp_path)


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        arrays = dict(np.load(io.BytesIO(data)))
        description = json.loads(arrays["description"].tobytes())
        change(description)
        arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
        return archive(**arrays)

    return damage


def with_array(name: str, array: Any) -> Callable[[bytes], bytes]:
    return lambda data: archive(**(dict(np.load(io.BytesIO(data))) | {name: array}))


NAME = "best/blk.0.attn_q.weight.lora_a"
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"not an archive",
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-30],
    "a flipped bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "an array that is no archive": lambda _: b"\x93NUMPY\x01\x00" + b"\0" * 100,
    "no description": lambda _: archive(x=np.zeros(3, np.float32)),
    "another format": described(lambda d: d.update(format=99)),
    "no format": described(lambda d: d.pop("format")),
    "an unknown field": described(lambda d: d["position"].update(more=1)),
    "a step of text": described(lambda d: d["position"].update(step="7")),
    "a negative step": described(lambda d: d["position"].update(step=-1)),
    "an unknown ending": described(lambda d: d["position"].update(ending="tired")),
    "an unknown dtype": described(lambda d: d["way"].update(dtype="float8")),
    "a list": described(lambda d: d.update(way=[1])),
    "NaN": with_array(NAME, np.array([1, np.nan, 2, 3], np.float32)),
    "float64": with_array(NAME, np.zeros(4)),
    "another kind": with_array("worst/x", np.zeros(4, np.float32)),
    "pickled": with_array(NAME, np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_one_is_one_clear_error(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "tuning.npz"
    made().write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TuningError, match="damaged, or no checkpoint of this version") as error:
        Checkpoint.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["parameters", "first_moments", "second_moments", "best"])
def test_numbers_of_other_shapes_are_refused(kind: str, tmp_path: Path) -> None:
    path, written = tmp_path / "tuning.npz", made()
    other = replace(written, **{kind: getattr(made(size=5), kind)})
    other.write(path)
    with pytest.raises(TuningError, match="other A and B"):
        Checkpoint.read(path).check(path, written.origin, shapes(written))


@pytest.mark.slow
def test_on_a_full_disk_the_earlier_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder, 400_000) as is_mounted:
        if not is_mounted:
            cannot("no disk can be mounted here")
        path = folder / "tuning.npz"
        made().write(path)
        with pytest.raises(TuningError, match=r"tuning\.npz: No space left.*--resume"):
            made(size=100_000, step=8).write(path)
        assert [file.name for file in folder.iterdir()] == ["tuning.npz"]
        assert Checkpoint.read(path).position.step == 7


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="No such file or directory"):
        made().write(tmp_path / "none" / "tuning.npz")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_ten_points_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.tuning", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert len(set(found["steps"])) >= KILLS - 2
    assert 30 < found["steps"][-1] < 60
