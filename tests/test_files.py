"""Opening, hashing and replacing files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from edgeproxy import files

posix = pytest.mark.skipif(os.name != "posix", reason="this system has no FIFOs and modes")


def test_a_regular_file_is_opened_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"data")
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        with files.open_regular(tmp_path / name) as file:
            assert file.read() == b"data"


@posix
def test_what_is_no_regular_file_is_named_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    found = {}
    for path in (tmp_path, tmp_path / "fifo", Path(os.devnull)):
        with pytest.raises(files.NotRegularError, match="and no regular file") as caught:
            files.open_regular(path)
        assert caught.value.filename == str(path)
        found[path.name] = caught.value.kind
    assert list(found.values()) == ["a directory", "a FIFO (a named pipe)", "a device or a socket"]


def test_a_link_is_refused_where_it_is_not_to_be_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(files.NotRegularError, match="a symbolic link"):
        files.open_regular(tmp_path / "link", follow=False)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "link")


def test_a_name_that_cannot_be_a_path() -> None:
    with pytest.raises(ValueError, match="null"):
        files.open_regular(Path("a\0b"))


@posix
def test_a_file_that_becomes_a_fifo_is_found_after_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "file", Path.stat
    path.write_bytes(b"data")
    seen = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(
        Path, "stat", lambda self, **how: seen if self == path else real(self, **how)
    )
    with pytest.raises(files.NotRegularError, match="FIFO"):
        files.open_regular(path)


def test_a_hash_is_of_every_byte_and_told_as_it_goes(tmp_path: Path) -> None:
    data, told = os.urandom(2 * files.CHUNK + 7), list[int]()
    (tmp_path / "file").write_bytes(data)
    assert files.hash_file(tmp_path / "file", told.append) == hashlib.sha256(data).hexdigest()
    assert told == [files.CHUNK, 2 * files.CHUNK, len(data)]


@pytest.mark.parametrize("private", [False, True])
def test_a_file_is_replaced_in_one_step(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files.replacing(path, private=private) as file:
        file.write(b"new")
        assert Path(file.name).parent == tmp_path
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "usual").touch()
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if private else usual)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_changes_where_the_writing_ends_early(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write() -> None:
        with files.replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_new_file_is_never_written_over_another(tmp_path: Path) -> None:
    files.write_new(tmp_path / "file", b"mine")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b"mine"
