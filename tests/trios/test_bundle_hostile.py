"""Bundles that were altered, by accident or not: each is refused in a line, and nothing is written.

The list grew from how archives have hurt others: paths and links that lead out, two files of one
name, sizes that lie, readers that disagree about what is in a file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cli import main
from edgeproxy.errors import BundleError, EdgeproxyError
from edgeproxy.trios.bundle import Bundle, create, install, verify
from edgeproxy.trios.find import read_recipe
from edgeproxy.trios.store import Store
from tests.helpers.bundles import Altered, tree, write_trio
from tests.helpers.hostile_archives import ARCHIVES
from tests.helpers.hostile_manifests import MANIFESTS

HOSTILE = ARCHIVES | MANIFESTS


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("sound")
    target = folder / "sound.bundle"
    create([read_recipe(write_trio(folder / "trio"))], target)
    return target.read_bytes()


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 100


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds a trio called old."""
    folder = tmp_path_factory.mktemp("stocked")
    create([read_recipe(write_trio(folder / "trio", "old", shift=50))], folder / "old.bundle")
    with Bundle(folder / "old.bundle") as bundle:
        install(bundle, Store(folder / "home"))
    return folder / "home"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stocked: Path) -> Path:
    """A folder to work in, with a store in it that holds a trio already."""
    shutil.copytree(stocked, tmp_path / "home")
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, sound: bytes, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter, said = HOSTILE[name]
    altered = Altered.of(sound)
    whole = alter(altered)
    path = world / "hostile.bundle"
    path.write_bytes(altered.to_bytes() if whole is None else whole)
    before = tree(world)
    for verb in ("verify", "install"):
        assert main(["bundle", verb, str(path)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith(f"edgeproxy: {path}: ")
        assert re.search(said, err), err
        assert err.isprintable() or err[:-1].isprintable()
        assert tree(world) == before


def test_what_is_altered_nowhere_is_sound(sound: bytes, world: Path) -> None:
    assert Altered.of(sound).to_bytes() == sound
    path = world / "sound.bundle"
    path.write_bytes(sound)
    assert main(["bundle", "verify", str(path)]) == 0


@given(data=st.data())
def test_every_bit_counts(
    data: st.DataObject, sound: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Headers, list and texts are a small part of the file, and the one where a flip may be missed.
    models = Altered.of(sound)
    size = sum(len(content) for path, content in models.data.items() if path[0] == "m")
    at = data.draw(st.integers(0, len(sound) - size) | st.integers(0, len(sound) - 1))
    altered = bytearray(sound)
    altered[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.bundle"
    path.write_bytes(altered)
    with pytest.raises(BundleError), Bundle(path) as bundle:
        verify(bundle)


@given(data=st.data())
def test_every_byte_counts(
    data: st.DataObject, sound: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.bundle"
    path.write_bytes(sound[: data.draw(st.integers(0, len(sound) - 1))])
    with pytest.raises(BundleError), Bundle(path) as bundle:
        verify(bundle)


def test_a_bundle_that_changes_while_it_is_installed(sound: bytes, world: Path) -> None:
    path = world / "changing.bundle"
    path.write_bytes(sound)
    store = Store()
    seen = []

    def alter(what: str, done: int, total: int) -> None:
        seen.append(what)
        if len(seen) == 2:
            flipped = bytearray(sound)
            flipped[-2000] ^= 1
            path.write_bytes(flipped)

    before = tree(store.root)
    with Bundle(path) as bundle, pytest.raises(BundleError, match="is damaged"):
        install(bundle, store, progress=alter)
    assert tree(store.root) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_does_not_hang(world: Path) -> None:
    os.mkfifo(world / "fifo")
    with pytest.raises(EdgeproxyError, match="no regular file"):
        Bundle(world / "fifo")


def test_what_is_no_file(world: Path) -> None:
    for name, said in ((".", "a directory"), ("none", "no such file"), ("a\0", "cannot be opened")):
        with pytest.raises(EdgeproxyError, match=said):
            Bundle(world / name)


def test_manifests_are_what_json_says(sound: bytes) -> None:
    content = Altered.of(sound).manifest_bytes()
    assert {"format", "version", "edgeproxy", "files"} == set(json.loads(content))
