"""Known files: found by their hash where they lie, and never anything else."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, ManifestError, ModelFileError, StoreError
from edgeproxy.trios.home import home
from edgeproxy.trios.known_files import LIST, KnownFiles
from edgeproxy.trios.manifest import Recipe, Role, read_recipe, to_toml
from edgeproxy.trios.missing import check_here
from edgeproxy.trios.store import Store
from tests.helpers.store_trios import receive, sha256

DATA = b"a base of some gigabytes " * 30


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "downloads" / "my base (1)=é.gguf"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


def listed() -> Path:
    folder = home()
    assert folder is not None
    return folder / LIST


def touch(path: Path, seconds: int = 10) -> None:
    """Give the file a later modification time."""
    now = path.stat()
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns + seconds * 10**9))


def write_trio(
    folder: Path, *, size: int = len(DATA), digest: str = "", file: str = "base.gguf"
) -> Path:
    """A trio's folder without its base."""
    folder.mkdir(exist_ok=True)
    for name in ("expert.gguf", "anti.gguf"):
        (folder / name).write_bytes(name.encode())
    base = Role(Path("base.gguf"), size=size, sha256=sha256(DATA))
    recipe = Recipe("mine", base, Role(Path("expert.gguf")), Role(Path("anti.gguf")))
    text = to_toml(recipe).replace('"base.gguf"', json.dumps(file))
    (folder / "trio.toml").write_text(text)
    return folder


def test_a_file_is_found_by_its_hash(base: Path) -> None:
    known = KnownFiles()
    assert known.find(sha256(DATA)) is None
    assert not listed().exists()
    assert known.add(base) == sha256(DATA)
    assert known.find(sha256(DATA)) == base
    assert known.find(sha256(DATA), len(DATA)) == base
    assert known.find(sha256(DATA), len(DATA) + 1) is None
    assert known.find("ab" * 32) is None
    assert known.find("../" * 20) is None
    assert known.problem is None


def test_a_file_is_hashed_once(base: Path) -> None:
    told: list[tuple[str, int, int]] = []
    known = KnownFiles()
    for _ in range(2):
        known.add(base, lambda *said: told.append(said))
    assert told == [(f"hashing {base.name}", len(DATA), len(DATA))]
    touch(base)
    known.add(base, lambda *said: told.append(said))
    assert len(told) == 2
    assert len(json.loads(listed().read_text())) == 1


def test_a_relative_path_is_the_same_file(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent)
    KnownFiles().add(base.name)
    monkeypatch.chdir(base.parent.parent)
    assert KnownFiles().find(sha256(DATA)) == base


def test_a_file_that_changed_is_not_the_one_that_was_noted(base: Path) -> None:
    known = KnownFiles()
    known.add(base)
    touch(base)
    assert known.find(sha256(DATA)) is None
    known.add(base)
    assert known.find(sha256(DATA)) == base
    base.write_bytes(DATA + b"more")
    assert known.find(sha256(DATA)) is None
    assert known.add(base) == sha256(DATA + b"more")
    assert known.find(sha256(DATA)) is None
    base.unlink()
    assert known.find(sha256(DATA + b"more")) is None
    base.mkdir()
    assert known.find(sha256(DATA + b"more")) is None


def test_a_copy_elsewhere_will_do(base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(DATA)
    known = KnownFiles()
    known.add(base)
    known.add(copy)
    base.unlink()
    assert known.find(sha256(DATA)) == copy
    known.forget(copy)
    assert known.find(sha256(DATA)) is None
    assert copy.exists()


def test_a_file_in_the_store_is_known_too() -> None:
    store = Store()
    receive(store, DATA)
    assert KnownFiles().find(sha256(DATA)) == store.blob(sha256(DATA))
    assert KnownFiles().find(sha256(DATA), 1) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"5",
        b"{}5",
        b"[5]",
        b'{"a": 1}',
        b'[{"path": "/x"}]',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" + b" " * (17 << 20) + b"]",
        b'[{"path": 5, "size": 1, "mtime_ns": 1, "sha256": "' + b"ab" * 32 + b'"}]',
        b'[{"path": "x", "size": 1, "mtime_ns": 1, "sha256": "' + b"ab" * 32 + b'"}]',
        b'[{"path": "/x", "size": "1", "mtime_ns": 1, "sha256": "' + b"ab" * 32 + b'"}]',
        b'[{"path": "/x", "size": 1, "mtime_ns": true, "sha256": "' + b"ab" * 32 + b'"}]',
        b'[{"path": "/x", "size": 1, "mtime_ns": 1, "sha256": 5}]',
    ],
    ids=range(15),
)
def test_a_damaged_list_is_told(content: bytes, base: Path, tmp_path: Path) -> None:
    listed().parent.mkdir()
    listed().write_bytes(content)
    known = KnownFiles()
    assert known.find(sha256(DATA)) is None
    assert known.problem is not None
    with pytest.raises(StoreError, match=r"known-files\.json: this list .* is damaged; remove it"):
        known.add(base)
    assert listed().read_bytes() == content
    with pytest.raises(ModelFileError, match=r"is damaged; remove it.*edgeproxy add FILE"):
        check_here(read_recipe(write_trio(tmp_path / "trio")).base)


def test_what_cannot_be_read_is_told(tmp_path: Path, base: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path("a\0b")):
        with pytest.raises(ModelFileError, match="it cannot be read"):
            KnownFiles().add(path)
    assert not listed().exists()
    listed().mkdir(parents=True)
    with pytest.raises(StoreError, match="it is a directory"):
        KnownFiles().add(base)


def test_without_a_home_there_is_one_clear_error(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproxy.trios.known_files.home", lambda: None)
    assert KnownFiles().find(sha256(DATA)) is None
    with pytest.raises(StoreError, match="EDGEPROXY_HOME"):
        KnownFiles().add(base)


def test_a_file_that_changes_while_it_is_read_is_refused(base: Path) -> None:
    with pytest.raises(ModelFileError, match="it changed while it was read"):
        KnownFiles().add(base, lambda *_: touch(base))
    assert KnownFiles().noted(sha256(DATA)) == []


def test_hashing_can_be_cancelled(base: Path) -> None:
    stop = Flag()
    stop.set()
    with pytest.raises(Cancelled):
        KnownFiles().add(base, cancel=stop)
    assert not listed().exists()


def test_many_at_once_lose_none(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.gguf" for n in range(8)]
    for path in paths:
        path.write_bytes(path.name.encode())
    threads = [threading.Thread(target=KnownFiles().add, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [KnownFiles().find(sha256(p.name.encode())) for p in paths] == paths


def test_a_name_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    try:
        path.write_bytes(DATA)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    KnownFiles().add(path)
    assert KnownFiles().find(sha256(DATA)) == path


# What a manifest can reach by a hash


def test_a_manifest_finds_a_file_where_it_lies(base: Path, tmp_path: Path) -> None:
    folder = write_trio(tmp_path / "trio")
    assert read_recipe(folder).base.path == (folder / "base.gguf").resolve()
    KnownFiles().add(base)
    recipe = read_recipe(folder)
    assert recipe.base.path == base
    assert recipe.base.file_name == "base.gguf"
    assert recipe.expert.path == (folder / "expert.gguf").resolve()
    check_here(recipe.base, recipe.expert)
    assert to_toml(recipe) == (folder / "trio.toml").read_text()


def test_a_file_beside_the_manifest_goes_before_a_known_one(base: Path, tmp_path: Path) -> None:
    KnownFiles().add(base)
    folder = write_trio(tmp_path / "trio")
    (folder / "base.gguf").write_bytes(b"another")  # a wrong one is told by verify, not hidden
    assert read_recipe(folder).base.path == (folder / "base.gguf").resolve()


def test_a_hash_reaches_nothing_that_was_not_added(base: Path, tmp_path: Path) -> None:
    folder = write_trio(tmp_path / "trio")
    recipe = read_recipe(folder)
    with pytest.raises(ModelFileError) as error:
        check_here(recipe.base)
    assert str(error.value) == (
        f"{folder.resolve() / 'base.gguf'}: there is no such file "
        f"(750 bytes, sha256 {sha256(DATA)[:12]}...); if you have it elsewhere, type edgeproxy add "
        "FILE, or put it, or a link to it, there"
    )
    KnownFiles().add(base)
    touch(base)
    with pytest.raises(ModelFileError) as error:
        check_here(read_recipe(folder).base)
    assert f"{base} was that file and has changed since it was noted" in str(error.value)
    base.unlink()
    with pytest.raises(ModelFileError, match="was that file and is gone since"):
        check_here(read_recipe(folder).base)


def test_a_size_that_is_a_lie_finds_nothing(base: Path, tmp_path: Path) -> None:
    KnownFiles().add(base)
    for size in (0, 1, len(DATA) + 1):
        folder = write_trio(tmp_path / "trio", size=size)
        assert read_recipe(folder).base.path == (folder / "base.gguf").resolve()


@pytest.mark.parametrize(
    "name", ["../base.gguf", "/etc/passwd", "a/../../base.gguf", "downloads/.."]
)
def test_a_hash_gives_no_leave_to_name_a_path(name: str, base: Path, tmp_path: Path) -> None:
    KnownFiles().add(base)
    folder = write_trio(tmp_path / "trio", file=name)
    with pytest.raises(ManifestError, match=r"base\.file must stay in the manifest's folder"):
        read_recipe(folder)
    folder = write_trio(tmp_path / "trio", file=str(base))
    with pytest.raises(ManifestError, match=r"base\.file must stay in the manifest's folder"):
        read_recipe(folder)


def test_without_size_or_hash_nothing_is_looked_up(base: Path, tmp_path: Path) -> None:
    KnownFiles().add(base)
    folder = write_trio(tmp_path / "trio")
    whole = (folder / "trio.toml").read_text()
    for key in ("size", "sha256"):
        lines = [line for line in whole.splitlines() if not line.startswith(key)]
        (folder / "trio.toml").write_text("\n".join(lines))
        assert read_recipe(folder).base.path == (folder / "base.gguf").resolve()
