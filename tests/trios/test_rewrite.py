"""A trio's own manifest rewritten: in a folder, in the store; those that ship are refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.trios.find import find_recipe, shipped_folders
from edgeproxy.trios.manifest import Fitted, Result
from edgeproxy.trios.rewrite import OwnManifest
from edgeproxy.trios.store import Store
from tests.helpers.store_trios import LICENCE, install

STEERING = Steering(base_weight=0.0)
FITTED = Fitted("q.jsonl", "b" * 64, 3, "2026-11-25", "1.0", "Use it.", (Result("expert", 3, 2),))
MANIFEST = """\
name = "mine"
# by hand
alpha = 2.0
[base]
file = "b.gguf"
[expert]
file = "e.gguf"
[anti_expert]
file = "a.gguf"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "trio.toml").write_text(MANIFEST)
    return tmp_path / "mine"


@pytest.mark.parametrize("part", ["", "trio.toml"])
def test_a_manifest_in_a_folder(folder: Path, part: str) -> None:
    manifest = OwnManifest(str(folder / part))
    manifest.write(STEERING, FITTED)
    recipe = find_recipe(str(folder))
    assert (recipe.steering, recipe.fitted) == (STEERING, FITTED)
    assert manifest.path == folder / "trio.toml"
    assert "# by hand\nalpha = 1.0\n" in manifest.path.read_text()
    assert [path.name for path in folder.iterdir()] == ["trio.toml"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_where_a_link_leads_to_is_rewritten(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(folder / "trio.toml")
    OwnManifest(str(link)).write(STEERING, FITTED)
    assert link.is_symlink()
    assert find_recipe(str(folder)).fitted == FITTED


def test_an_installed_trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    store = Store()
    install(store, "mine")
    OwnManifest("mine").write(STEERING, FITTED)
    recipe = find_recipe("mine")
    assert (recipe.steering, recipe.fitted) == (STEERING, FITTED)
    assert (store.trios / "mine" / "LICENCE.txt").read_bytes() == LICENCE["LICENCE.txt"]
    assert list(store.tmp.iterdir()) == []


def test_a_trio_that_ships_is_refused_by_name_and_by_path() -> None:
    shipped = shipped_folders()[0] / "factbook"
    for name in ("factbook", str(shipped), str(shipped / "trio.toml")):
        with pytest.raises(UsageError, match=r"comes with edgeproxy.*--dry-run, or fit a copy"):
            OwnManifest(name)


def test_a_copy_of_one_that_ships_is_the_user_s_own(tmp_path: Path) -> None:
    shutil.copy(shipped_folders()[0] / "factbook" / "trio.toml", tmp_path)
    OwnManifest(str(tmp_path)).write(STEERING, FITTED)
    assert find_recipe(str(tmp_path)).fitted == FITTED


def test_a_manifest_that_was_changed_meanwhile_is_left(folder: Path) -> None:
    manifest = OwnManifest(str(folder))
    changed = MANIFEST + "# more\n"
    (folder / "trio.toml").write_text(changed)
    with pytest.raises(ManifestError, match=r"trio\.toml: it was changed meanwhile"):
        manifest.write(STEERING, FITTED)
    assert (folder / "trio.toml").read_text() == changed


def test_a_manifest_that_is_not_there_or_not_text_is_named(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.toml: "):
        OwnManifest(str(folder / "none.toml"))
    (folder / "trio.toml").write_bytes(b"\xff")
    with pytest.raises(ManifestError, match=r"trio\.toml: this is not valid UTF-8"):
        OwnManifest(str(folder))
