"""The GGUF validator: what is no model's file at all, and a file that changes while it is open."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest

from edgeproxy.errors import ModelFileError
from edgeproxy.gguf import open_model
from tests.helpers.gguf_changes import refusal
from tests.helpers.gguf_files import draft


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.gguf") == "there is no such file; check the path"


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "it is a directory; name the .gguf file in it"


def test_an_impossible_path() -> None:
    assert "it cannot be opened" in refusal(Path("a\0b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gguf")
    assert "it is a FIFO" in refusal(tmp_path / "fifo.gguf")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this platform has no device files")
def test_a_device() -> None:
    assert "it is a device or a socket" in refusal(Path("/dev/null"))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no such sockets")
def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.gguf")
        assert "it is a device or a socket" in refusal(Path("s.gguf"))


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draft().write(tmp_path / "model.gguf")

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read everything
    assert refusal(path) == "it may not be read; check its permissions"


def test_a_link_to_a_model_is_a_model(tmp_path: Path) -> None:
    draft().write(tmp_path / "model.gguf")
    (tmp_path / "link.gguf").symlink_to("model.gguf")
    with open_model(tmp_path / "link.gguf") as file:
        file.check_unchanged()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty; download or copy the file again"),
        (b"GG", "it is not a GGUF file; use a file in GGUF format"),
        (b"Dear model,\n", "it is not a GGUF file"),
        (b"<!DOCTYPE html>" * 99, "it is not a GGUF file"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is a big-endian GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it has GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "it has GGUF version 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "it has GGUF version 0"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors, more than"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "keys, more than"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "its header lacks general.architecture"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "a key in its header is 11529"),
    ],
)
def test_other_contents(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    assert said in refusal(tmp_path / "model.gguf")


def test_an_unchanged_file_passes(tmp_path: Path) -> None:
    with open_model(draft().write(tmp_path / "model.gguf")) as file:
        assert file.header.tensors
        file.check_unchanged()
        assert os.fstat(file.fileno()).st_size == file.header.file_size


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        draft().write(tmp_path / "other.gguf").replace(path)
        with pytest.raises(ModelFileError, match="it was replaced or altered"):
            file.check_unchanged()


@pytest.mark.parametrize("harm", ["touch", "truncate"])
def test_an_altered_file_is_noticed(harm: str, tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        if harm == "touch":
            os.utime(path, ns=(0, file.header.identity[3] + 1_000_000_000))
        else:
            os.truncate(path, 100)
        with pytest.raises(ModelFileError, match="it was replaced or altered"):
            file.check_unchanged()


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    with open_model(path) as file:
        path.unlink()
        with pytest.raises(ModelFileError, match="it has been moved away"):
            file.check_unchanged()


def test_closing_twice_is_fine_and_a_refusal_leaves_nothing_open(tmp_path: Path) -> None:
    path = draft().write(tmp_path / "model.gguf")
    file = open_model(path)
    file.close()
    file.close()
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        before = len(list(descriptors.iterdir()))
        path.write_bytes(b"not a model")
        refusal(path)
        assert len(list(descriptors.iterdir())) == before
