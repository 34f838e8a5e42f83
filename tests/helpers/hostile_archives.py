"""Bundles whose archive was altered: paths, kinds of files, headers, and what is no bundle."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

from edgeproxy.trios.bundle import archive
from edgeproxy.trios.bundle.manifest import MAX_MANIFEST
from tests.helpers.bundles import Altered, header
from tests.helpers.hostile_bundles import Cases, adding_to, model

ARCHIVES: Cases = {}
hostile = adding_to(ARCHIVES)


def path_case(name: str, path: str, said: str) -> None:
    """A file at a path at which none may be."""

    def alter(of: Altered) -> None:
        of.put(path, b"evil", at=1)

    ARCHIVES[f"path_{name}"] = (alter, said)


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

    ARCHIVES[f"kind_{name}"] = (alter, said)


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

    ARCHIVES[f"header_{name}"] = (alter, "INSTALL.txt stands a file INSTALL.txt, not just")


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


@hostile("it is cut short")
def a_file_that_is_missing(of: Altered) -> None:
    del of.data[model(of)]


@hostile("is damaged: its sha256 is not the one in the manifest")
def a_flipped_weight(of: Altered) -> None:
    data = bytearray(of.data[model(of)])
    data[-100] ^= 1
    of.data[model(of)] = bytes(data)


@hostile("trio.toml is damaged: its sha256")
def a_changed_trio(of: Altered) -> None:
    path = "trios/mini/trio.toml"
    of.data[path] = of.data[path].replace(b"alpha = 1.0", b"alpha = 9.0")


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
