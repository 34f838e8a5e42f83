"""Prompt caches as files: what is not ours is left alone, and what cannot be written is said."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.session.prompt_cache.prefix import cache_prompt
from edgeproxy.session.prompt_cache.statefile import MAGIC, check_path
from tests.helpers.fakes import random_trio
from tests.helpers.prompt_caches import (
    OTHER,
    SYSTEM,
    beginning,
    beside,
    evaluated,
    fakes,
    fill,
    posix,
    reply,
)


@pytest.mark.parametrize(
    "content",
    [b"My letters.\n", b"GGUF" + bytes(100), b"\0", b"EDGEPFX", MAGIC[:-1] + b"\r\n"],
    ids=repr,
)
def test_somebody_elses_file_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content + b" and more")
    before = path.stat()
    trio = random_trio()
    for attempt in (lambda: check_path(path), lambda: fill(path, trio)):
        with pytest.raises(UsageError, match="not a prompt cache, so it is left as it is"):
            attempt()
    assert path.read_bytes() == content + b" and more"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert evaluated(trio) == [0, 0, 0]


def test_a_flipped_byte_of_the_magic_makes_it_somebody_elses(path: Path, made: bytes) -> None:
    for place in range(len(MAGIC)):
        damaged = bytearray(made)
        damaged[place] ^= 0x20
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="not a prompt cache"):
            fill(path)
        assert path.read_bytes() == damaged


def test_a_file_that_appears_meanwhile_is_left_as_it_is(path: Path) -> None:
    def put(what: str, _share: float) -> None:
        if what.startswith("writing"):
            path.write_text("My letters.\n")

    with pytest.raises(UsageError, match="not a prompt cache"):
        cache_prompt(path, random_trio(), beginning(), put)
    assert path.read_text() == "My letters.\n"
    assert beside(path) == [path.name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none/system.prefix", "there is no such folder"),
        (".", "it is a directory"),
        ("nul\0", "cannot be a prompt cache"),
        ("a" * 300, "cannot be a prompt cache"),
        ("letter/system.prefix", "cannot be a prompt cache|no such folder"),
    ],
    ids=["no folder", "a directory", "NUL", "too long", "below a file"],
)
def test_impossible_paths(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "letter").touch()
    for attempt in (check_path, fill):
        with pytest.raises(UsageError, match=said) as caught:
            attempt(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1


@posix
def test_links_and_pipes_are_refused(path: Path, made: bytes) -> None:
    target = path.with_name("target")
    target.write_bytes(made)
    path.symlink_to(target)
    os.mkfifo(path.with_name("fifo"))
    specials = {path: "symbolic link", path.with_name("fifo"): "regular file"}
    for special, said in {**specials, Path(os.devnull): "regular file"}.items():
        for attempt in (check_path, fill):
            with pytest.raises(UsageError, match=said) as caught:
                attempt(special)
            assert str(caught.value).count(str(special)) == 1
    assert target.read_bytes() == made
    path.with_name("dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="symbolic link"):
        check_path(path.with_name("dangling"))


@posix
def test_only_its_owner_may_read_it(path: Path) -> None:
    path.touch(0o644)
    fill(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_may_not_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))

    trio = random_trio()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refuse)
        done = fill(path, trio)
    said = "it could not be written (Permission denied); the next start reads the message again"
    assert done.doubt == f"{path}: {said}"
    assert reply(trio) == reply(random_trio())
    assert not path.exists()


@posix
def test_a_disk_that_is_full(path: Path, made: bytes) -> None:
    import resource

    sound, shown = bytearray(made), resource.getrlimit(resource.RLIMIT_FSIZE)
    sound[-1] ^= 1
    path.write_bytes(sound)
    trio = random_trio()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(made) - 100, shown[1]))
    try:
        done = fill(path, trio)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, shown)
    assert done.doubt is not None
    assert "it is damaged, and it could not be written (File too large)" in done.doubt
    assert path.read_bytes() == sound
    assert beside(path) == [path.name]
    assert reply(trio) == reply(random_trio())


def test_several_writers_at_once(path: Path) -> None:
    failed: list[BaseException] = []

    def write(system: str) -> None:
        try:
            for _ in range(5):
                trio = random_trio()
                fill(path, trio, system)
                assert [model.history for model in fakes(trio)] == list(beginning(system))
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=write, args=(s,)) for s in (SYSTEM, OTHER) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert beside(path) == [path.name]
    both = [fill(path, system=system) for system in (SYSTEM, OTHER)]
    assert any(done.doubt and "another system message" in done.doubt for done in both)
