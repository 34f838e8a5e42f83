"""Kills, full disks and other processes: the store opens, and nothing in it is half there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import StoreError
from edgeproxy.trios import disk
from edgeproxy.trios.store import Store, incoming
from tests.helpers.store_trios import (
    LICENCE,
    files_of,
    install,
    manifest,
    problems,
    receive,
    sha256,
)

pytestmark = pytest.mark.slow

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are tried by forking")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one, because nothing here depends on a slow disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def killed(folder: Path, *asked: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.helpers.crashing", str(folder), *asked]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_fork
@pytest.mark.parametrize("what", ["receive", "replace", "remove"])
def test_a_kill_at_any_step_leaves_a_sound_store(folder: Path, what: str) -> None:
    found = killed(folder, what, "steps")
    assert found["problems"] == []
    assert found["killed"] == found["wanted"] > 20
    assert 0 < found["done"] < found["killed"], "some kills come before it is done, some after"


@needs_fork
@pytest.mark.parametrize(("what", "count"), [("receive", 50), ("replace", 25), ("remove", 25)])
def test_a_kill_at_a_random_point_leaves_a_sound_store(folder: Path, what: str, count: int) -> None:
    found = killed(folder, what, str(count))
    assert (found["problems"], found["killed"]) == ([], count)


@needs_fork
@pytest.mark.parametrize("what", ["receive", "remove"])
def test_the_kills_would_find_a_store_that_is_careless(folder: Path, what: str) -> None:
    assert killed(folder, what, "steps", "broken")["problems"]


# Other processes


def race(root: Path, *codes: str) -> list[tuple[int, str, str]]:
    """Run these programs at once, each with `store`; exit codes and what they wrote."""
    head = (
        "import sys, time\nfrom pathlib import Path\nfrom edgeproxy.errors import StoreError\n"
        "from edgeproxy.trios.store import Store\nfrom tests.helpers.store_trios import *\n"
        f"store = Store(Path({str(root)!r}))\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", head + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for code in codes
    ]
    told = [process.communicate(timeout=60) for process in started]
    return [(p.returncode, *words) for p, words in zip(started, told, strict=True)]


SLOWLY = """
data = files_of("one")[0]
with store.incoming(sha256(data), len(data)) as incoming:
    written = 0
    for at in range(incoming.have, len(data), 100):
        incoming.write(data[at : at + 100])
        written += len(data[at : at + 100])
        time.sleep(0.02)
    incoming.commit()
print(written)
"""


def test_two_that_receive_the_same_file_receive_it_once(tmp_path: Path) -> None:
    found = race(tmp_path, SLOWLY, SLOWLY, SLOWLY)
    data = files_of("one")[0]
    assert [code for code, _, _ in found] == [0, 0, 0], found
    assert sum(int(out) for _, out, _ in found) == len(data)
    assert Store(tmp_path).has(sha256(data), len(data))
    assert list(Store(tmp_path).tmp.iterdir()) == []


def test_several_that_install_and_remove_the_same_trio(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, "kept")
    installing = "for _ in range(10): install(store, 'one')"
    removing = """
for _ in range(20):
    try:
        store.remove('one')
        store.clean()
    except StoreError as error:
        assert 'is installed' in str(error), error
"""
    found = race(tmp_path, installing, installing, removing, removing)
    assert [code for code, _, _ in found] == [0] * 4, found
    assert problems(store, "kept") == []
    install(store, "one")
    assert problems(store, "kept", "one") == []


def test_a_file_that_another_process_holds_is_not_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, "one")
    shas = list(map(sha256, files_of("one")))
    with store.hold(shas[:2]):
        assert [freed.name for freed in store.remove("one")] == shas[2:]
        assert store.clean() == []
        assert store.has(shas[0])
        assert store.has(shas[1])
    assert {freed.name for freed in store.clean()} == set(shas[:2])


def test_what_a_process_receives_is_not_cleaned_away(tmp_path: Path) -> None:
    store, data = Store(tmp_path), b"something" * 100
    with store.incoming(sha256(data), len(data)) as one:
        one.write(data[:50])
        assert store.clean() == []
        assert store.rubbish() == 0
        one.write(data[50:])
        one.commit()
        assert store.clean() == []
    assert store.clean() == [(sha256(data), len(data))]


# Full disks


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk with room for 256 kB, or where none can be mounted files of at most so much."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = False
    with contextlib.suppress(OSError):
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if mounted:
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    resource = pytest.importorskip("resource", reason="this system has no limits to set")
    shown = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, shown[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, shown)


def test_a_disk_that_fills_up_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = os.urandom(1 << 20)
    monkeypatch.setattr(disk, "check_space", lambda *_: None)  # as when others fill it meanwhile
    with small_disk(tmp_path / "disk") as folder:
        store = Store(folder)
        install(store, "kept")
        with pytest.raises(StoreError, match=r"the disk is full; free some space"):
            receive(store, large, 10_000)
        assert problems(store, "kept") == []
        assert 0 < store.received(sha256(large)) <= 256 << 10
        with store.incoming(sha256(large), len(large)) as again:
            assert large.startswith((store.tmp / sha256(large) / "part").read_bytes())
            assert again.have == store.received(sha256(large)), "what came is not lost"
        store.clean()
        install(store, "other")
        assert problems(store, "kept", "other") == []


class FullFile(FileIO):
    """A file on a disk with room for 500 bytes."""

    def write(self, data: Any) -> int:
        room = 500 - self.tell()
        if room <= 0:
            raise OSError(28, "No space left on device")
        return super().write(data[:room])


def test_what_fits_of_a_piece_is_kept_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = Store(tmp_path), os.urandom(900)
    with monkeypatch.context() as full:
        full.setattr(incoming, "FileIO", FullFile)
        with pytest.raises(StoreError, match="the disk is full"):
            receive(store, data)
    assert store.received(sha256(data)) == 500
    assert receive(store, data) == 400


def test_a_full_disk_while_a_manifest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    install(store, "one", description="the first")

    def write_new(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as full:
        full.setattr("edgeproxy.trios.store.store.write_new", write_new)
        for name in ("one", "two"):
            text = manifest(name, files_of("one"), "the second")
            with pytest.raises(StoreError, match=r"the disk is full"):
                store.install(name, text, LICENCE, replace=True)
    assert store.names() == ["one"]
    assert store.recipe("one").description == "the first"
    assert problems(store, "one") == []
    assert list(store.tmp.iterdir()) == []


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    with pytest.raises(StoreError, match=r"not enough disk space: [\d,.]+ GB are needed and .* fr"):
        store.check_space(1 << 60)
    assert not store.root.exists()
    with (
        pytest.raises(StoreError, match="not enough disk space"),
        store.incoming("ab" * 32, 1 << 60),
    ):
        pytest.fail("there is no such room")
    assert list(store.tmp.iterdir()) == []
