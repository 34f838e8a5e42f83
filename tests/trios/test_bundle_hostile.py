"""Bundles that were altered, by accident or not: each is refused in a line, and nothing is written.

The list grew from how archives have hurt others: paths and links that lead out, two files of one
name, sizes that lie, readers that disagree about what is in a file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cli import main
from edgeproxy.errors import BundleError, EdgeproxyError
from edgeproxy.trios.bundle import Bundle, archive, create, install, verify
from edgeproxy.trios.bundle.manifest import MAX_FILES, MAX_MANIFEST
from edgeproxy.trios.find import read_recipe
from edgeproxy.trios.store import Store
from tests.helpers.bundles import Altered, header, sha256, tree, write_trio
from tests.helpers.gguf_files import draft

Alter = Callable[[Altered], bytes | None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("sound")
    target = folder / "sound.bundle"
    create([read_recipe(write_trio(folder / "trio"))], target)
    return target.read_bytes()


def model(of: Altered, index: int = 0) -> str:
    """The path of one of its models."""
    return [str(row["path"]) for row in of.files if str(row["path"]).startswith("models/")][index]


def toml(of: Altered, old: str, new: str) -> None:
    """Change its trio's manifest, and list that rightly."""
    path = "trios/mini/trio.toml"
    text = of.data[path].decode()
    assert old in text
    of.put(path, text.replace(old, new).encode())


HOSTILE: dict[str, tuple[Alter, str]] = {}


def hostile(said: str) -> Callable[[Alter], Alter]:
    """Add a way of altering a bundle, and what must be said of it."""

    def add(alter: Alter) -> Alter:
        HOSTILE[alter.__name__] = (alter, said)
        return alter

    return add


def path_case(name: str, path: str, said: str) -> None:
    """A file at a path at which none may be."""

    def alter(of: Altered) -> None:
        of.put(path, b"evil", at=1)

    HOSTILE[f"path_{name}"] = (alter, said)


path_case("parent", "trios/mini/../../../evil", "leads out of its folder")
path_case("parent_first", "../evil", "leads out of its folder")
path_case("absolute", "/etc/evil", "is absolute")
path_case("drive", "C:/evil", "is absolute, or of another system")
path_case("share", "//server/evil", "is absolute")
path_case("backslash", "trios\\mini\\evil", "of another system")
path_case("stream", "trios/mini/a:b", "of another system")
path_case("dot", "trios/./mini/evil", "not in its short form")
path_case("empty_part", "trios//evil", "not in its short form")
path_case("folder", "trios/mini/", "not in its short form")
path_case("control", "trios/mini/a\nb", "characters that a bundle's paths may not have")
path_case("escape", "trios/mini/\x1b[2J", "characters that a bundle's paths may not have")
path_case("nul", "trios/mini/a\0b", "characters that a bundle's paths may not have")
path_case("unicode", "trios/mini/\u202egnp", "characters that a bundle's paths may not have")
path_case("device", "trios/con/trio.toml", "a name that Windows cannot have")
path_case("device_dot", "trios/mini/nul.txt", "a name that Windows cannot have")
path_case("trailing_dot", "trios/mini/evil.", "a name that Windows cannot have")
path_case("other", "evil.sh", "of no kind of file that a bundle holds")
path_case("deeper", "trios/mini/deep/evil", "of no kind of file that a bundle holds")
path_case("hidden", "trios/mini/.profile", "of no kind of file that a bundle holds")
path_case("long", "trios/mini/" + "a" * 150, "of no kind of file that a bundle holds")
path_case("wheel", "wheels/evil.py", "of no kind of file that a bundle holds")
path_case("empty", "", "has a path ''")


def kind_case(name: str, kind: bytes, said: str) -> None:
    """Something else than a regular file where one is listed."""

    def alter(of: Altered) -> None:
        path = "trios/mini/LICENSE"
        size = len(of.data[path])
        of.headers[path] = header(path, size, kind, link="../../../../evil")

    HOSTILE[f"kind_{name}"] = (alter, said)


kind_case("hard_link", b"1", "stands a hard link trios/mini/LICENSE")
kind_case("symbolic_link", b"2", "stands a symbolic link trios/mini/LICENSE")
kind_case("character_device", b"3", "stands a device")
kind_case("block_device", b"4", "stands a device")
kind_case("folder", b"5", "stands a folder")
kind_case("fifo", b"6", "stands a FIFO")
kind_case("contiguous", b"7", "of a special kind")
kind_case("pax", b"x", "LICENSE stands a file")
kind_case("pax_global", b"g", "LICENSE stands a file")
kind_case("gnu_long_name", b"L", "LICENSE stands a file")
kind_case("gnu_sparse", b"S", "LICENSE stands a file")
kind_case("old_regular", b"\0", "LICENSE stands a file")


def field_case(name: str, value: bytes) -> None:
    """A header that other readers accept, and that edgeproxy does not write."""

    def alter(of: Altered) -> None:
        path = "INSTALL.txt"
        of.headers[path] = header(path, len(of.data[path]), fields={name: value})

    HOSTILE[f"header_{name}"] = (alter, "INSTALL.txt stands a file INSTALL.txt, not just")


field_case("mode", b"0004755\0")
field_case("owner", b"0000001\0")
field_case("group", b"0000001\0")
field_case("time", b"00000000001\0")
field_case("magic", b"ustar  \0")
field_case("length", b"00000000001\0")


@hostile("stands no header, or a damaged one")
def checksum(of: Altered) -> None:
    right = archive.header("INSTALL.txt", len(of.data["INSTALL.txt"]))
    of.headers["INSTALL.txt"] = right[:148] + b"000000\0 " + right[156:]


@hostile("stands a file trios/mini/LICENSE")
def a_name_with_more_behind_a_nul(of: Altered) -> None:
    path = "trios/mini/LICENSE"
    of.headers[path] = header(f"{path}\0/evil", len(of.data[path]))


@hostile("stands a file evil")
def another_name(of: Altered) -> None:
    of.headers["INSTALL.txt"] = header("evil", len(of.data["INSTALL.txt"]))


@hostile("something is hidden behind")
def padding_that_is_not_empty(of: Altered) -> None:
    of.padding = b"e"


@hostile("lists trios/mini/LICENSE twice")
def twice_in_the_list(of: Altered) -> None:
    of.put("trios/mini/LICENSE", b"evil", at=1)
    of.files[2] = of.files[1]


@hostile(r"\d+ bytes more than its manifest accounts for")
def twice_in_the_archive(of: Altered) -> None:
    of.more = header("trios/mini/LICENSE", 4) + b"evil".ljust(archive.BLOCK, b"\0")


@hostile(r"\d+ bytes more than its manifest accounts for")
def a_file_that_is_not_listed(of: Altered) -> None:
    of.more = header("trios/mini/evil", 4) + b"evil".ljust(archive.BLOCK, b"\0")


@hostile("are one file on some systems")
def names_that_differ_in_case(of: Altered) -> None:
    of.put("trios/mini/license", b"evil", at=3)
    of.files.sort(key=lambda row: (row["path"][0] != "I", row["path"][0] == "m", row["path"]))


@hostile("are one file on some systems")
def trios_that_differ_in_case(of: Altered) -> None:
    of.put("trios/MINI/trio.toml", of.data["trios/mini/trio.toml"], at=1)


@hostile("it is cut short")
def a_file_that_is_missing(of: Altered) -> None:
    del of.data[model(of)]


@hostile("its manifest contradicts itself|belongs to no trio|not in it")
def a_model_left_out_of_list_and_archive(of: Altered) -> None:
    of.files.remove(of.row("models/"))


@hostile("belongs to none of its trios")
def a_model_that_no_trio_names(of: Altered) -> None:
    data = draft().bytes(seed=99)
    of.put(f"models/{sha256(data)}", data)
    models = sorted((row for row in of.files if row["path"][0] == "m"), key=lambda r: r["path"])
    of.files = [row for row in of.files if row["path"][0] != "m"] + models


@hostile("is damaged: its sha256 is not the one in the manifest")
def a_flipped_weight(of: Altered) -> None:
    data = bytearray(of.data[model(of)])
    data[-100] ^= 1
    of.data[model(of)] = bytes(data)


@hostile("trio.toml is damaged: its sha256")
def a_changed_trio(of: Altered) -> None:
    path = "trios/mini/trio.toml"
    of.data[path] = of.data[path].replace(b"alpha = 1.0", b"alpha = 9.0")


@hostile("a model is named by its sha256")
def a_model_under_another_name(of: Altered) -> None:
    of.put(model(of), draft().bytes(seed=99))


@hostile("it is cut short")
def a_size_beyond_the_file(of: Altered) -> None:
    of.row("models/")["size"] = 1 << 40


@hostile("which is not 0 to")
def a_size_beyond_all_measure(of: Altered) -> None:
    of.row("models/")["size"] = 1 << 80


@hostile("which is not 0 to 1,048,576 bytes")
def a_text_that_would_fill_the_memory(of: Altered) -> None:
    of.put("trios/mini/LICENSE", b"a" * ((1 << 20) + 1))


@hostile("which is not 0 to")
def a_negative_size(of: Altered) -> None:
    of.row("trios/")["size"] = -1


@hostile("its size is 21.0")
def a_size_that_is_no_whole_number(of: Altered) -> None:
    of.row("trios/")["size"] = 21.0


@hostile("its size is True")
def a_size_that_is_true(of: Altered) -> None:
    of.row("trios/")["size"] = True


@hostile("more than 2,000")
def more_files_than_anybody_needs(of: Altered) -> None:
    for number in range(MAX_FILES):
        of.put(f"trios/mini/a{number:05}", b"", at=2)


@hostile("not a bundle")
def a_manifest_that_is_too_large(of: Altered) -> None:
    of.manifest = of.manifest_bytes() + b" " * MAX_MANIFEST


@hostile("not a bundle")
def a_manifest_of_no_size(of: Altered) -> None:
    of.manifest = b""


@hostile("not a bundle")
def a_manifest_whose_size_is_beyond_all_measure(of: Altered) -> bytes:
    whole = of.to_bytes()
    return (
        header("manifest.json", 0, fields={"length": b"\x80" + b"\xff" * 11})
        + whole[archive.BLOCK :]
    )


@hostile("not a bundle")
def another_file_first(of: Altered) -> bytes:
    evil = header("evil", 4) + b"evil".ljust(archive.BLOCK, b"\0")
    return evil + of.to_bytes()


def json_case(name: str, change: Callable[[str], str], said: str) -> None:
    """A manifest that is not what it should be, as JSON or as a manifest."""

    def alter(of: Altered) -> None:
        of.manifest = change(of.manifest_bytes().decode()).encode()

    HOSTILE[f"manifest_{name}"] = (alter, said)


def replacing(old: str, new: str) -> Callable[[str], str]:
    """Put `new` in place of the first `old`."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


FORMAT, ONE = '"edgeproxy bundle"', '"version": 1'
json_case("not_json", lambda text: text[:-3], "not valid JSON")
json_case("empty_list", lambda _: "[]", "not that of an edgeproxy bundle")
json_case("deep", lambda _: "[" * 200_000, "not valid JSON|not that of an edgeproxy bundle")
json_case("text", lambda _: "hello", "not valid JSON")
json_case("not_ascii", replacing("mini", "m\u00efni"), "not valid JSON")
json_case("format", replacing(FORMAT, '"other"'), "not that of an edgeproxy bundle")
json_case("version", replacing(ONE, '"version": 2'), "it is of version 2, .* update this one")
json_case("version_true", replacing(ONE, '"version": true'), "as edgeproxy writes it")
json_case("unknown", replacing(ONE, ONE + ',\n "evil": 1'), "unknown key 'evil'")
json_case("unknown_row", replacing('"size"', '"mode": 1, "size"'), "unknown key files: 'mode'")
json_case("repeated", replacing(ONE, ONE + ",\n " + ONE), "a key stands there twice")
json_case("spaces", replacing("{", "{ "), "as edgeproxy writes it")
json_case("newline", lambda text: text + "\n", "as edgeproxy writes it")
json_case("escapes", replacing("mini", "m\\u0069ni"), "as edgeproxy writes it")
json_case("nan", replacing(ONE, '"version": NaN'), "it is of version nan")
json_case("digits", replacing(ONE, '"version": ' + "9" * 5000), "not valid JSON|of version 9")
json_case("no_files", lambda t: t[: t.index(' "files"')] + ' "files": []\n}\n', "lists no files")
json_case("other_files", replacing('"files": [', '"files": [1,'), "that is not a file")
json_case("path_number", replacing('"INSTALL.txt"', "7"), "has a path 7")
json_case("hash_upper", replacing('"sha256": "', '"sha256": "A'), "not 64 hexadecimal digits")
json_case("hash_short", replacing('"sha256": "', '"sha256": "", "x": "'), "unknown key")
json_case("maker", replacing('"edgeproxy": "', '"edgeproxy": "\\u001b'), "has control characters")
json_case("maker_long", replacing('"edgeproxy": "', '"edgeproxy": "' + "1" * 300), "line of text")
json_case("wheels", replacing(ONE, ONE + ',\n "wheels_for": "x"'), "contradicts itself")


@hostile("does not list INSTALL.txt")
def no_instructions(of: Altered) -> None:
    del of.files[0]


@hostile("lists no trio")
def no_trio(of: Altered) -> None:
    of.files = [row for row in of.files if not row["path"].startswith("trios/")]


@hostile("belongs to no trio of the bundle")
def a_text_without_its_trio(of: Altered) -> None:
    of.put("trios/other/LICENSE", b"evil", at=3)


@hostile("out of order")
def out_of_order(of: Altered) -> None:
    of.files[1], of.files[2] = of.files[2], of.files[1]


@hostile("contradicts itself about wheels")
def wheels_for_nothing(of: Altered) -> None:
    of.put("wheels/evil-1-py3-none-any.whl", b"evil", at=3)


@hostile("trio.toml: unknown key evil")
def a_trio_with_an_unknown_key(of: Altered) -> None:
    toml(of, 'name = "mini"', 'name = "mini"\nevil = 1')


@hostile("not valid TOML")
def a_trio_that_is_no_toml(of: Altered) -> None:
    toml(of, 'name = "mini"', "name = ")


@hostile("is that of 'other'")
def a_trio_under_another_name(of: Altered) -> None:
    toml(of, 'name = "mini"', 'name = "other"')


@hostile("sha256 is missing")
def a_trio_without_hashes(of: Altered) -> None:
    toml(of, "sha256", "# sha256")


@hostile("base.gguf of the trio mini is not in it")
def a_trio_that_wants_more(of: Altered) -> None:
    toml(of, 'sha256 = "', f'sha256 = "{"0" * 64}"\n# "')


@hostile("sha256 must be 64 hexadecimal digits")
def a_trio_whose_hash_leads_out(of: Altered) -> None:
    toml(of, 'sha256 = "', 'sha256 = "../../../../evil"\n# "')


@hostile("the manifest of mini gives base.gguf another size than it has")
def a_trio_with_another_size(of: Altered) -> None:
    toml(of, "\nsize = ", "\nsize = 1")


@hostile("models/[0-9a-f]+: it is not a GGUF file|models/[0-9a-f]+: ")
def a_model_that_is_none(of: Altered) -> None:
    old = of.row("models/")
    size = old["size"]
    of.put_model(b"evil".ljust(size, b"!"), old["sha256"])


@hostile("models/[0-9a-f]+: llama.block_count is 0")
def a_model_that_would_abort_llama_cpp(of: Altered) -> None:
    base = next(row for row in of.files if row["path"][0] == "m")
    made = draft()
    made.metadata["llama.block_count"] = 0
    of.put_model(made.bytes(seed=1), base["sha256"])
    toml(of, f"size = {base['size']}", f"size = {len(made.bytes(seed=1))}")


@hostile("its end is damaged")
def no_end(of: Altered) -> None:
    of.end = b"\0" * archive.BLOCK + b"e" * archive.BLOCK


@hostile("it is cut short: .* copy the bundle again")
def half_an_end(of: Altered) -> None:
    of.end = archive.END[1:]


@hostile("1 bytes more than")
def rubbish_behind_the_end(of: Altered) -> None:
    of.end = archive.END + b"!"


@hostile("it is cut short")
def only_the_manifest(of: Altered) -> bytes:
    return of.to_bytes()[: 5 * archive.BLOCK]


@hostile("not a bundle")
def only_a_little(of: Altered) -> bytes:
    return of.to_bytes()[:100]


@hostile("it is empty")
def empty(of: Altered) -> bytes:
    return b""


@hostile("a gzip file, not a bundle")
def compressed(of: Altered) -> bytes:
    return gzip.compress(of.to_bytes())


@hostile("a gzip file, not a bundle")
def a_bomb(of: Altered) -> bytes:
    return gzip.compress(bytes(10_000_000))


@hostile("a bzip2 file, not a bundle")
def compressed_with_bzip2(of: Altered) -> bytes:
    return bz2.compress(of.to_bytes())


@hostile("an xz file, not a bundle")
def compressed_with_xz(of: Altered) -> bytes:
    return lzma.compress(of.to_bytes())


@hostile("a zip file, not a bundle")
def zipped(of: Altered) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("../evil", b"evil")
    return made.getvalue()


@hostile("a model file, not a bundle")
def a_model_alone(of: Altered) -> bytes:
    return of.data[model(of)]


@hostile("not a bundle")
def noise(of: Altered) -> bytes:
    return bytes(range(7, 256)) * 100


@hostile("not a bundle")
def another_tar(of: Altered) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        link = tarfile.TarInfo("manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    return made.getvalue()


@hostile("not a bundle")
def the_same_by_tarfile(of: Altered) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as file:
        for path, data in {"manifest.json": of.manifest_bytes(), **of.data}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(data), 1.5
            file.addfile(entry, io.BytesIO(data))
    return made.getvalue()


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
