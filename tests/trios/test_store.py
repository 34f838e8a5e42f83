"""The store: what comes in is checked, what is installed is found, what is shared stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeproxy.errors import ManifestError, StoreError
from edgeproxy.trios.find import find_recipe
from edgeproxy.trios.home import home
from edgeproxy.trios.manifest import read_recipe, to_toml
from edgeproxy.trios.store import Store
from edgeproxy.units import in_units
from tests.helpers.store_trios import (
    BASE,
    LICENCE,
    files_of,
    install,
    manifest,
    problems,
    receive,
    sha256,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_a_store_is_below_home_and_creates_nothing_to_be_read(store: Store) -> None:
    assert Store().root == home()
    assert [*store.names(), *store.verify(), *store.clean()] == []
    assert store.rubbish() == 0
    assert not store.has("ab" * 32)
    with pytest.raises(StoreError, match=r"no trio called 'x' is installed \(there are: none\)"):
        store.recipe("x")
    with pytest.raises(StoreError, match="no trio called 'x'"):
        store.remove("x")
    assert not store.root.exists()


def test_an_installed_trio_is_found_and_its_files_are_blobs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "mine")
    recipe = store.recipe("mine")
    base, expert, anti_expert = files_of("mine")
    assert [r.path.read_bytes() for r in recipe.roles.values()] == [base, expert, anti_expert]
    assert (recipe.base.file_name, recipe.base.path) == ("x.gguf", store.blob(sha256(base)))
    assert (store.trios / "mine" / "LICENCE.txt").read_bytes() == LICENCE["LICENCE.txt"]
    assert not any(role.path.stat().st_mode & 0o222 for role in recipe.roles.values())
    assert list(store.tmp.iterdir()) == []
    monkeypatch.setenv("EDGEPROXY_HOME", str(store.root))
    assert find_recipe("mine") == recipe
    with pytest.raises(ManifestError, match=r"'mien' \(there are: .*factbook.*, mine\)"):
        find_recipe("mien")


def test_what_came_before_is_gone_on_with(store: Store) -> None:
    data = b"0123456789" * 10
    heard: list[int] = []
    with store.incoming(sha256(data), len(data)) as incoming:
        incoming.write(data[:30])
        with pytest.raises(StoreError, match="30 of 100 bytes have come; do it again"):
            incoming.commit()
    assert store.received(sha256(data)) == 30
    assert not store.has(sha256(data))
    with store.incoming(sha256(data), len(data), progress=heard.append) as incoming:
        assert (incoming.have, heard) == (30, [30])
        incoming.write(data[30:])
        incoming.commit()
        assert incoming.complete
    assert store.has(sha256(data), len(data))
    assert not store.has(sha256(data), 99)
    with store.incoming(sha256(data), len(data)) as again:
        assert (again.complete, again.have) == (True, 100)
        again.commit()
        with pytest.raises(StoreError, match="received already"):
            again.write(b"more")


def test_what_came_can_be_forgotten(store: Store) -> None:
    data = b"right" * 20
    with store.incoming(sha256(data), len(data)) as incoming:
        incoming.write(b"wrong")
        incoming.restart()
        assert incoming.have == 0
        incoming.write(data)
        incoming.commit()
    assert store.has(sha256(data), len(data))


def test_nothing_is_left_of_what_never_came(store: Store) -> None:
    with store.incoming("ab" * 32, 100):
        pass
    assert list(store.tmp.iterdir()) == []


def test_wrong_bytes_are_put_aside_and_named(store: Store) -> None:
    data, wrong = b"right" * 20, b"wrong" * 20
    with store.incoming(sha256(data), len(data)) as incoming:
        incoming.write(wrong)
        with pytest.raises(StoreError, match=f"{sha256(data)}: what came is another") as error:
            incoming.commit()
    aside = store.tmp / f"quarantine-{sha256(data)[:16]}" / sha256(data)
    assert aside.read_bytes() == wrong
    assert str(aside) in str(error.value)
    assert not store.has(sha256(data))
    assert receive(store, data) == 100, "the next try begins anew"
    assert store.rubbish() > 0
    store.clean()
    assert not aside.exists()


def test_more_bytes_than_announced_are_refused(store: Store) -> None:
    data = b"right" * 20
    with store.incoming(sha256(data), len(data)) as incoming:
        incoming.write(data)
        with pytest.raises(StoreError, match="more than the 100 bytes came"):
            incoming.write(b"!")
    assert not store.has(sha256(data))


def test_what_is_longer_than_it_should_be_is_begun_anew(store: Store) -> None:
    data = b"right" * 20
    with store.incoming(sha256(data), 1000) as incoming:
        incoming.write(data * 2)
    assert receive(store, data) == 100


@pytest.mark.parametrize("name", ["", "ab", "AB" * 32, "../" + "a" * 61, "g" * 64, "é" * 64])
def test_what_is_no_hash_names_no_file(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="is not a sha256"):
        store.has(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "a b", ".x", "x.", "nul", "COM1.x", "é", "a" * 65, "a\n"]
)
def test_an_impossible_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name of a trio"):
        store.install(name, manifest("mine"))
    assert not store.root.exists()


@pytest.mark.parametrize("file", ["trio.toml", "TRIO.toml", "a/b", "..", "con", "x ", "a\0"])
def test_an_impossible_file_beside_a_manifest_is_refused(store: Store, file: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name of a file"):
        store.install("mine", manifest("mine"), {file: b""})


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("", "", r"its file x\.gguf is missing"),
        ('name = "mine"', 'name = "yours"', "calls it 'yours'"),
        ("sha256", "sha265", "sha256 is missing"),
        ("size", "siez", "unknown key"),
        ('sha256 = "', 'sha256 = "\\u0061', "64 hexadecimal"),
    ],
)
def test_a_manifest_that_is_wrong_is_not_installed(
    store: Store, old: str, new: str, what: str
) -> None:
    with pytest.raises((StoreError, ManifestError), match=what):
        store.install("mine", manifest("mine").replace(old, new, 1))
    assert store.names() == []


def test_a_hash_spelt_with_escapes_is_refused(store: Store) -> None:
    first = sha256(files_of("mine")[0])
    escaped = f"\\u{ord(first[0]):04x}{first[1:]}"
    with pytest.raises(StoreError, match="with escapes"):
        store.install("mine", manifest("mine").replace(first, escaped))


def test_another_trio_of_the_same_name_needs_to_be_asked_for(store: Store) -> None:
    install(store, "mine")
    install(store, "mine")  # the same again is nothing
    with pytest.raises(StoreError, match="another trio called mine is installed"):
        install(store, "mine", "another one")
    assert store.recipe("mine").description == ""
    (store.trios / "mine" / "OLD.txt").write_text("of the first")
    install(store, "mine", "another one", replace=True)
    assert store.recipe("mine").description == "another one"
    assert sorted(p.name for p in (store.trios / "mine").iterdir()) == ["LICENCE.txt", "trio.toml"]
    with pytest.raises(StoreError, match="in case only"):
        store.install("Mine", manifest("Mine", files_of("mine")))


def test_a_removal_leaves_what_another_trio_uses(store: Store) -> None:
    install(store, "one")
    install(store, "two")
    freed = store.remove("one")
    assert [(f.name, f.size) for f in freed] == sorted(
        (sha256(data), len(data)) for data in files_of("one")[1:]
    )
    assert problems(store, "two") == []
    assert len(store.remove("two")) == 3
    assert [*store.blobs.iterdir(), *store.tmp.iterdir(), *store.names()] == []


def test_a_damaged_manifest_keeps_its_files(store: Store) -> None:
    install(store, "one")
    install(store, "two")
    path = store.trios / "two" / "trio.toml"
    path.write_text(path.read_text() + "\nnonsense = [")
    with pytest.raises(StoreError, match=r"not valid TOML.*; install it again: edgeproxy pull two"):
        store.recipe("two")
    assert store.names() == ["one", "two"]
    store.remove("one")
    assert store.clean() == []
    install(store, "two")
    assert problems(store, "two") == []


@pytest.mark.parametrize("damage", ["missing", "shorter", "manifest gone", "another name"])
def test_a_damaged_trio_says_what_to_do(store: Store, damage: str) -> None:
    install(store, "mine")
    expert = store.recipe("mine").expert.path
    path = store.trios / "mine" / "trio.toml"
    if damage == "missing":
        expert.unlink()
    elif damage == "shorter":
        expert.chmod(0o644)
        os.truncate(expert, 10)
    elif damage == "manifest gone":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('name = "mine"', 'name = "yours"'))
    with pytest.raises(StoreError, match="install it again: edgeproxy pull mine, or"):
        store.recipe("mine")
    assert store.names() == ["mine"]
    install(store, "mine")
    assert problems(store, "mine") == []


def test_a_flipped_bit_is_found_and_can_be_put_right(store: Store) -> None:
    install(store, "mine")
    path = store.recipe("mine").expert.path
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    seen: list[tuple[str, int, int]] = []
    found = store.verify(["mine"], lambda *told: seen.append(told))
    assert [finding.wrong for finding in found] == [False, True, False]
    assert found[1].problem == (
        f"it is damaged: its sha256 is {sha256(bytes(data))} instead of {path.name}"
    )
    assert [file for file, _, _ in seen] == ["x.gguf", "y.gguf", "z.gguf"]
    assert seen[-1][1:] == (sum(map(len, files_of("mine"))),) * 2
    assert store.set_aside(path.name).read_bytes() == data
    install(store, "mine")
    assert problems(store, "mine") == []


def test_a_wrong_size_in_a_manifest_says_nothing_against_the_file(store: Store) -> None:
    install(store, "mine")
    base = store.recipe("mine").base.path
    manifest = store.trios / "mine" / "trio.toml"
    manifest.write_text(manifest.read_text().replace(f"size = {len(BASE)}", "size = 7"))
    found = store.verify(["mine"])
    assert [finding.wrong for finding in found] == [False, False, False]
    assert found[0].problem == (
        "its sha256 is right, but its manifest is wrong: it has 840 bytes instead of 7"
    )
    base.chmod(0o644)
    base.write_bytes(b"another")  # of that very size
    assert [finding.wrong for finding in store.verify(["mine"])] == [True, False, False]


def test_one_file_for_two_roles_is_read_once(store: Store) -> None:
    files = (b"one",) * 3
    receive(store, b"one")
    store.install("mine", manifest("mine", files))
    seen: list[int] = []
    assert len(store.verify(None, lambda _file, done, _total: seen.append(done))) == 3
    assert seen == [3]
    assert len(store.remove("mine")) == 1


def test_what_is_not_a_store_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StoreError, match=r"file.*(Not a directory|File exists)"):
        receive(Store(path), b"x")


def test_leftovers_go_and_strangers_stay(store: Store) -> None:
    install(store, "mine")
    (store.tmp / "leftover").mkdir()
    (store.tmp / "leftover" / "part").write_bytes(b"12345")
    (store.tmp / "file").write_bytes(b"123")
    (store.blobs / ("ab" * 32)).write_bytes(b"12")
    (store.blobs / "notes.txt").write_bytes(b"mine")
    assert store.rubbish() == 10
    assert store.clean() == [("file", 3), ("leftover", 5), ("ab" * 32, 2)]
    (store.blobs / "notes.txt").unlink()
    assert problems(store, "mine") == []


def test_a_recipe_is_written_as_it_was_read(factbook: Path, tmp_path: Path) -> None:
    recipe = read_recipe(factbook)
    (tmp_path / "trio.toml").write_text(to_toml(recipe), "utf-8")
    again = read_recipe(tmp_path)
    assert again.description == recipe.description
    assert [(r.file_name, r.sha256, r.size) for _, r in again.files] == [
        (r.file_name, r.sha256, r.size) for _, r in recipe.files
    ]
    assert [r.prompt for r in again.roles.values()] == [r.prompt for r in recipe.roles.values()]
    assert to_toml(again) == to_toml(recipe)


def test_blobs_are_files_for_everybody_to_read(store: Store) -> None:
    receive(store, b"data")
    assert stat.S_IMODE(store.blob(sha256(b"data")).stat().st_mode) == 0o444


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (4.68e9, "4.7 GB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_units(size) == words
