"""Bundles made, verified and installed: what is in them, and what happens where that fails."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui import output
from edgeproxy.errors import (
    BundleError,
    Cancelled,
    EdgeproxyError,
    ModelFileError,
    StoreError,
    UsageError,
)
from edgeproxy.gguf import read
from edgeproxy.trios.bundle import Bundle, archive, create, install, verify
from edgeproxy.trios.bundle.install_text import Wheels, instructions
from edgeproxy.trios.find import Recipe, find_recipe, read_recipe
from edgeproxy.trios.store import Store, incoming
from tests.helpers.adapters import adapter
from tests.helpers.bundles import Altered, sha256, tree, write_trio
from tests.helpers.disks import claim_space, fill, small_disk
from tests.helpers.gguf_files import draft


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, which is not there yet."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return read_recipe(write_trio(tmp_path / "trio"))


@pytest.fixture
def made(tmp_path: Path, recipe: Recipe) -> Path:
    """A sound bundle."""
    create([recipe], tmp_path / "made.bundle")
    return tmp_path / "made.bundle"


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests themselves run behind `nohup`."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def installed(path: Path, store: Store, **how: Any) -> list[bool]:
    with Bundle(path) as bundle:
        return [each.was_there for each in install(bundle, store, **how)]


# What is in it


def test_a_bundle_holds_the_trio_its_texts_and_each_model_once(made: Path, recipe: Recipe) -> None:
    with Bundle(made) as bundle:
        (trio,) = verify(bundle)
        paths = [file.path for file in bundle.manifest.files]
        text = bundle.read(bundle.manifest.files[0]).decode("ascii")
    hashes = {sha256(role.path.read_bytes()) for role in recipe.roles.values()}
    assert paths == [
        "INSTALL.txt",
        "trios/mini/LICENSE",
        "trios/mini/trio.toml",
        *(f"models/{each}" for each in sorted(hashes)),
    ]
    assert trio.texts == {"LICENSE": b"Anyone may use this.\n"}
    assert {role.sha256 for role in trio.recipe.roles.values()} == hashes
    assert trio.recipe.expert.prompt == "chatml"
    assert [role.file_name for role in trio.recipe.roles.values()] == [
        "base.gguf",
        "expert.gguf",
        "anti-expert.gguf",
    ]
    assert "edgeproxy bundle install BUNDLE" in text
    assert not bundle.is_signed


def test_python_alone_unpacks_it(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tarfile", "-e", str(made), str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    altered = Altered.of(made.read_bytes())
    assert (tmp_path / "out" / "manifest.json").read_bytes() == altered.manifest_bytes()
    for path, data in altered.data.items():
        assert (tmp_path / "out" / path).read_bytes() == data


def test_the_same_input_makes_the_same_bytes(made: Path, recipe: Recipe, tmp_path: Path) -> None:
    for role in recipe.roles.values():
        os.utime(role.path, (1, 1))
        role.path.chmod(0o600)
    create([recipe], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made.read_bytes()


def test_an_installed_trio_makes_the_bundle_that_it_came_from(made: Path, tmp_path: Path) -> None:
    installed(made, Store())
    create([find_recipe("mini")], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made.read_bytes()


def test_trios_share_models(tmp_path: Path, recipe: Recipe) -> None:
    other = read_recipe(write_trio(tmp_path / "other", "other"))
    draft().write(other.expert.path, seed=7)
    manifest = create([other, recipe], tmp_path / "both")
    assert manifest.trios == ["mini", "other"]
    assert len(manifest.of("model")) == 4
    create([recipe, other], tmp_path / "turned")
    assert (tmp_path / "both").read_bytes() == (tmp_path / "turned").read_bytes()
    assert installed(tmp_path / "both", Store()) == [False, False]
    assert Store().names() == ["mini", "other"]


def test_only_what_belongs_to_a_trio_is_carried(tmp_path: Path) -> None:
    path = write_trio(tmp_path / "mine")
    for name in ("README.md", "NOTICE", "passwords.txt", "license.bak.exe.d", ".licence"):
        (tmp_path / "mine" / name).write_text(name)
    (tmp_path / "mine" / "COPYING").mkdir()
    with path.open("a") as file:
        file.write('\n[tuned]\nfile = "tuned.gguf"\n')
    draft().write(tmp_path / "mine" / "tuned.gguf", seed=9)
    manifest = create([read_recipe(path)], tmp_path / "mine.bundle")
    texts = [file.name for file in manifest.of("trio")]
    assert texts == ["LICENSE", "NOTICE", "README.md", "license.bak.exe.d", "trio.toml"]
    assert len(manifest.of("model")) == 3


def test_texts_beside_models_that_are_no_trios_folder_stay_there(tmp_path: Path) -> None:
    path = write_trio(tmp_path / "downloads")
    (path.parent / "README.md").write_text("my diary")
    mine = path.rename(path.with_name("mine.toml"))
    assert [file.name for file in create([read_recipe(mine)], tmp_path / "a").of("trio")] == [
        "trio.toml"
    ]
    # A manifest of other models does not make it this trio's folder.
    path.write_text(mine.read_text().replace("base.gguf", "another.gguf"))
    draft().write(path.parent / "another.gguf", seed=9)
    assert [file.name for file in create([read_recipe(mine)], tmp_path / "b").of("trio")] == [
        "trio.toml"
    ]


def test_the_trio_that_ships_brings_its_licence(factbook_recipe: Recipe, tmp_path: Path) -> None:
    create([factbook_recipe], tmp_path / "f.bundle")
    with Bundle(tmp_path / "f.bundle") as bundle:
        (trio,) = verify(bundle)
    assert b"MIT License" in trio.texts["LICENSE"]
    assert b"# The factbook trio" in trio.texts["README.md"]


def test_an_expert_that_is_an_adapter(tmp_path: Path) -> None:
    path = write_trio(tmp_path / "lora", "adapted")
    text = path.read_text().replace('file = "expert.gguf"', 'lora = { file = "l.gguf" }')
    path.write_text(text)
    model = read(tmp_path / "lora" / "anti-expert.gguf")
    adapter(model).write(tmp_path / "lora" / "l.gguf")
    manifest = create([read_recipe(path)], tmp_path / "lora.bundle")
    assert len(manifest.of("model")) == 3
    assert installed(tmp_path / "lora.bundle", Store()) == [False]
    found = Store().recipe("adapted").expert
    assert len(found.loras) == 1
    assert (found.loras[0].file_name, found.file_name) == ("l.gguf", "anti-expert.gguf")
    create([find_recipe("adapted")], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "lora.bundle").read_bytes()
    # One that is for another model is refused on either side.
    other = draft(width=64).write(tmp_path / "other.gguf")
    wrong = adapter(read(other)).bytes()
    (tmp_path / "lora" / "l.gguf").write_bytes(wrong)
    refused([read_recipe(path)], tmp_path / "x", ModelFileError, "l.gguf: ")
    altered = Altered.of((tmp_path / "lora.bundle").read_bytes())
    old, size = found.loras[0].sha256, found.loras[0].size
    assert old is not None
    altered.put_model(wrong, old)
    text = altered.data["trios/adapted/trio.toml"].decode()
    text = text.replace(f"size = {size}", f"size = {len(wrong)}")
    altered.put("trios/adapted/trio.toml", text.encode())
    (tmp_path / "wrong").write_bytes(altered.to_bytes())
    with pytest.raises(BundleError, match=f"models/{sha256(wrong)}: its change of "):
        installed(tmp_path / "wrong", Store(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()


# The container


@pytest.mark.parametrize(
    "path", ["manifest.json", f"models/{'a' * 64}", f"trios/{'b' * 64}/{'c' * 100}"]
)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 8**11 - 1])
def test_headers_are_those_of_tarfile(path: str, size: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = size
    ours, theirs = archive.header(path, size), entry.tobuf(tarfile.USTAR_FORMAT)
    # Pythons differ in what they write of a device that there is none, and so in checksums.
    for part in (slice(0, 148), slice(156, 329), slice(345, 512)):
        assert ours[part] == theirs[part]
    assert tarfile.TarInfo.frombuf(ours, "ascii", "strict").name == path


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 9_000_000_000, 1 << 40])
def test_others_read_the_sizes_of_large_files(size: int) -> None:
    block = archive.header("models/x", size)
    assert tarfile.TarInfo.frombuf(block, "ascii", "strict").size == size
    assert archive.size_of(block) == size


def test_sizes_that_no_header_declares() -> None:
    for text in (b"", b"x", b"-1", b"1 1", b"9", b" " * 12, "\u0661".encode()):
        assert archive.size_of(bytes(124) + text.ljust(12, b"\0") + bytes(376)) == -1


def test_a_path_that_fits_no_header() -> None:
    with pytest.raises(ValueError, match="too long"):
        archive.header("a" * 101, 1)


# Where it cannot be made


def refused(recipes: list[Recipe], target: Path, error: type[EdgeproxyError], said: str) -> None:
    """Check that no bundle is made, and that nothing changes."""
    before = tree(target.parent) if target.parent.is_dir() else {}
    with pytest.raises(error, match=said):
        create(recipes, target)
    assert (tree(target.parent) if target.parent.is_dir() else {}) == before


def test_targets_that_cannot_be(tmp_path: Path, recipe: Recipe, made: Path) -> None:
    refused([recipe], made, UsageError, "is there already; .* --force")
    (tmp_path / "folder" / "a").mkdir(parents=True)
    refused([recipe], tmp_path / "folder" / "a", UsageError, "this is a directory")
    refused([recipe], tmp_path / "none" / "a", UsageError, "there is no such folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        refused([recipe], tmp_path / "fifo", UsageError, "no regular file")


def test_force_replaces(made: Path, recipe: Recipe) -> None:
    whole = made.read_bytes()
    made.write_bytes(b"old")
    create([recipe], made, force=True)
    assert made.read_bytes() == whole
    recipe.expert.path.unlink()
    with pytest.raises(ModelFileError):
        create([recipe], made, force=True)
    assert made.read_bytes() == whole


def test_a_new_bundle_has_the_usual_mode(made: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_trios_that_cannot_be_carried(tmp_path: Path, recipe: Recipe) -> None:
    target = tmp_path / "x.bundle"
    same = read_recipe(write_trio(tmp_path / "same", "MINI"))
    refused([recipe, same], target, UsageError, "have the same name")
    for name in ("my trio", "../evil", "con", "a.", "", "\u00fc", "a" * 65):
        odd = read_recipe(write_trio(tmp_path / f"odd{len(name)}{name[:1].isalpha()}", name))
        refused([odd], target, BundleError, "cannot be carried")


def test_models_that_are_not_what_their_trio_says(tmp_path: Path) -> None:
    target = tmp_path / "x.bundle"
    path = write_trio(tmp_path / "wrong")
    text = path.read_text()
    for line, error, said in (
        (f'sha256 = "{"0" * 64}"', BundleError, "base.gguf: its sha256 is .* instead of 0000"),
        ("size = 7", BundleError, "bytes, not 7 as its trio says"),
    ):
        path.write_text(text.replace('file = "base.gguf"', f'file = "base.gguf"\n{line}'))
        refused([read_recipe(path)], target, error, said)
    path.write_text(text)
    (tmp_path / "wrong" / "base.gguf").write_bytes(b"GGUF but no more than that")
    refused([read_recipe(path)], target, ModelFileError, "base.gguf: ")
    (tmp_path / "wrong" / "base.gguf").unlink()
    refused([read_recipe(path)], target, ModelFileError, "no such file")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "wrong" / "base.gguf")
        refused([read_recipe(path)], target, ModelFileError, "FIFO")


def test_a_wrong_size_is_put_right_where_the_hash_says_that_the_file_is_sound(
    tmp_path: Path,
) -> None:
    path = write_trio(tmp_path / "wrong")
    size, digest = len(data := (path.parent / "base.gguf").read_bytes()), sha256(data)
    line = f'file = "base.gguf"\nsize = 7\nsha256 = "{digest}"'
    path.write_text(path.read_text().replace('file = "base.gguf"', line))
    create([read_recipe(path)], tmp_path / "x.bundle")
    with Bundle(tmp_path / "x.bundle") as bundle:
        (trio,) = verify(bundle)
    assert (trio.recipe.base.size, trio.recipe.base.sha256) == (size, digest)


def test_a_model_that_changes_meanwhile(tmp_path: Path, recipe: Recipe) -> None:
    def alter(what: str, done: int, total: int) -> None:
        if what.startswith("writing models/"):
            draft().write(recipe.base.path, seed=40)
            draft().write(recipe.expert.path, seed=41)
            draft().write(recipe.anti_expert.path, seed=42)

    before = set(tmp_path.iterdir())
    with pytest.raises(BundleError, match="it is damaged, or changed meanwhile"):
        create([recipe], tmp_path / "x", progress=alter)
    assert set(tmp_path.iterdir()) == before


# Full disks


def test_a_disk_too_small_for_a_bundle(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 200_000) as is_real:
        (disk / "mine").write_text("mine")
        before = tree(disk)
        if is_real:
            with pytest.raises(BundleError, match=r"not enough disk space: the bundle takes .* kB"):
                create([recipe], disk / "x")
            assert tree(disk) == before
        claim_space(monkeypatch)
        if not is_real:
            fill(monkeypatch, full_files(monkeypatch), 200_000)
        with pytest.raises(BundleError, match="the disk became full; free some space"):
            create([recipe], disk / "x")
        assert tree(disk) == before


def full_files(patch: pytest.MonkeyPatch) -> type:
    """A class of files of which bundles are made from now on."""

    class File(io.BufferedWriter):
        pass

    usual = Path.open

    def opened(self: Path, mode: str = "r", *more: Any, **how: Any) -> Any:
        return File(io.FileIO(self, "x")) if mode == "xb" else usual(self, mode, *more, **how)

    patch.setattr(Path, "open", opened)
    return File


def test_a_disk_too_small_for_an_install(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = read_recipe(write_trio(tmp_path / "old", "old", shift=20))
    create([old], tmp_path / "old.bundle")
    with small_disk(tmp_path / "disk", 700_000) as is_real:
        store = Store(tmp_path / "disk")
        installed(tmp_path / "old.bundle", store)
        before = tree(store.root)
        if is_real:
            with pytest.raises(StoreError, match="not enough disk space"):
                installed(made, store)
            assert tree(store.root) == before
        claim_space(monkeypatch)
        if not is_real:

            class File(io.FileIO):
                pass

            monkeypatch.setattr(incoming, "FileIO", File)
            fill(monkeypatch, File, 100_000)
        with pytest.raises(StoreError, match="the disk is full; free some space"):
            installed(made, store)
        assert tree(store.root) == before
        assert [finding.problem for finding in store.verify()] == [None] * 3


# Installing


def test_installing_twice_changes_nothing(made: Path, home: Path) -> None:
    store = Store()
    assert installed(made, store) == [False]
    before = tree(home)
    assert installed(made, store) == [True]
    assert tree(home) == before
    assert [finding.problem for finding in store.verify()] == [None] * 3


def test_another_trio_of_that_name(tmp_path: Path, made: Path, home: Path) -> None:
    store = Store()
    installed(made, store)
    create([read_recipe(write_trio(tmp_path / "new", shift=30))], tmp_path / "new.bundle")
    before = tree(home)
    with pytest.raises(StoreError, match="another trio called mini is installed; --replace"):
        installed(tmp_path / "new.bundle", store)
    assert tree(home) == before
    assert installed(tmp_path / "new.bundle", store, replace=True) == [False]
    assert store.recipe("mini").base.sha256 == sha256((tmp_path / "new" / "base.gguf").read_bytes())


def test_a_damaged_trio_is_made_whole(made: Path, home: Path) -> None:
    store = Store()
    installed(made, store)
    whole = {path: each for path, each in tree(home).items() if path.startswith("trios")}
    blob = store.recipe("mini").base.path
    blob.chmod(0o600)
    blob.unlink()
    assert installed(made, store) == [False]
    assert [finding.problem for finding in store.verify()] == [None] * 3
    (store.trios / "mini" / "trio.toml").write_text("damaged")
    assert installed(made, store) == [False]
    assert list(whole) == [path for path in tree(home) if path.startswith("trios")]


def test_what_an_earlier_try_left_is_used(made: Path, home: Path) -> None:
    with Bundle(made) as bundle:
        file = bundle.manifest.of("model")[0]
        data = bundle.read(file)
    store = Store()
    with store.incoming(file.sha256, file.size) as part:
        part.write(data[:1000])
    assert installed(made, store) == [False]
    assert [finding.problem for finding in store.verify()] == [None] * 3
    assert list(store.tmp.iterdir()) == []


def test_verify_writes_nothing(made: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with Bundle(made) as bundle:
        verify(bundle)
    assert tree(tmp_path) == before


# Ctrl-C


@pytest.mark.parametrize("press", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("verb", ["create", "verify", "install"])
def test_ctrl_c(
    verb: str,
    press: int,
    made: Path,
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[str] = []

    def show(_: object, text: str) -> None:
        shown.append(text)
        if len(shown) == press:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(output.StatusLine, "show", show)
    arguments = {
        "create": [str(recipe.base.path.parent), "-o", str(tmp_path / "new.bundle")],
        "verify": [str(made)],
        "install": [str(made)],
    }[verb]
    before = tree(tmp_path)
    code = main(["bundle", verb, *arguments])
    out, err = capsys.readouterr()
    if len(shown) < press or (len(shown) == press and code == 0):
        assert code == 0  # it was pressed when all was done
        return
    assert (code, out, err) == (130, "", "edgeproxy: interrupted\n")
    store = Store()
    home = store.root.name
    found = {key: each for key, each in tree(tmp_path).items() if not key.startswith(home)}
    assert found == before
    assert store.names() == []
    assert not store.tmp.exists() or list(store.tmp.iterdir()) == []
    assert not store.blobs.exists()


def test_a_caller_may_stop_it(tmp_path: Path, recipe: Recipe) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        create([recipe], tmp_path / "x", progress=stop)
    assert not (tmp_path / "x").exists()


# The command line


def test_the_way_of_a_bundle(
    tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = str(recipe.base.path.parent), str(tmp_path / "mini.bundle")
    assert main(["bundle", "create", folder, "-o", path]) == 0
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 2)
    assert err.startswith(f"{path}: mini; 3 models of ")
    assert "python3 -m tarfile -e mini.bundle FOLDER" in err or os.name == "nt"
    assert main(["bundle", "create", folder, "-o", path]) == 2
    assert main(["bundle", "create", folder, "-o", path, "--force", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trios"], found["models"], found["wheels"]) == (["mini"], 3, 0)
    assert found["size"] == Path(path).stat().st_size
    assert main(["bundle", "verify", path]) == 0
    assert "every byte is what its manifest says\n" in capsys.readouterr().out
    assert main(["bundle", "verify", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    for state in ("is installed", "is there already"):
        assert main(["bundle", "install", path]) == 0
        assert capsys.readouterr() == (f"mini {state}: edgeproxy chat --trio mini\n", "")
    assert main(["bundle", "install", path, "--json"]) == 0
    installed = json.loads(capsys.readouterr().out)["installed"]
    assert installed == [{"trio": "mini", "was_there": True}]


def test_a_name_that_ships_is_told(
    tmp_path: Path, factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.bundle")
    for trio, told in ((write_trio(tmp_path / "false", "factbook"), 1), (factbook, 0)):
        assert main(["bundle", "create", str(trio), "-o", path, "--force"]) == 0
        capsys.readouterr()
        assert main(["bundle", "install", path, "--replace"]) == 0
        assert capsys.readouterr().err.count("another trio called factbook comes with") == told


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["create"],
        ["create", "factbook"],
        ["create", "-o", "x"],
        ["create", "nonsense", "-o", "x"],
        ["create", "factbook", "-o", "."],
        ["create", "factbook", "-o", "x", "--sign", "none"],
        ["verify"],
        ["verify", "none"],
        ["verify", "."],
        ["install", "none"],
        ["install", "none", "--key", "none"],
        ["keygen"],
        ["keygen", "none/key"],
    ],
)
def test_wrong_usage(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", *arguments]) == 2
    out, err = capsys.readouterr()
    if arguments:
        assert out == ""
        assert err.startswith("edgeproxy: ")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_words_in_it_are_ascii_and_fit_a_screen() -> None:
    wheels = Wheels([Path("x.whl")], ["chat", "sign"], "CPython 3.11 on linux-x86_64")
    for carried in (None, wheels):
        for signed in (False, True):
            text = instructions(["qwen2.5-7b", "mini"], carried, signed)
            assert text.isascii()
            assert max(len(line) for line in text.splitlines() if line[:5].strip()) <= 100
            assert "{" not in text
            assert ("edgeproxy[chat,sign]" in text) == (carried is not None)
            assert ("minisign -V" in text) == signed
