"""What a bundle holds, as its first member says: each other file with path, size and sha256.

The JSON has one form, its paths are of a few known kinds, and everything in it is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from edgeproxy.errors import BundleError
from edgeproxy.trios.store import naming

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
INSTALL = "INSTALL.txt"
RECIPE = "trio.toml"

FORMAT, VERSION = "edgeproxy bundle", 1
MAX_MANIFEST, MAX_SIGNATURE, MAX_TEXT, MAX_FILES = 1 << 20, 1 << 14, 1 << 20, 2000
MAX_WHEEL, MAX_MODEL, MAX_NAME = 4 << 30, 1 << 40, 100

# tar has 100 bytes for a name, and 155 for the folders before it.
_TRIO, _PART = r"[A-Za-z0-9_][\w.-]{0,63}", r"[A-Za-z0-9_][\w.+-]{0,99}"
_KINDS = (
    ("text", re.compile(re.escape(INSTALL)), MAX_TEXT),
    ("trio", re.compile(rf"trios/{_TRIO}/{_PART}", re.ASCII), MAX_TEXT),
    ("wheel", re.compile(rf"wheels/{_PART}(?<=\.whl)", re.ASCII), MAX_WHEEL),
    ("model", re.compile(r"models/[0-9a-f]{64}"), MAX_MODEL),
)
"""Each kind of file, the paths that it may have, and its largest size; in the order of a bundle."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class File:
    """One member of a bundle."""

    path: str
    size: int
    sha256: str

    @property
    def kind(self) -> str:
        """`text`, `trio`, `wheel` or `model`."""
        return next(kind for kind, pattern, _ in _KINDS if pattern.fullmatch(self.path))

    @property
    def trio(self) -> str:
        """The trio whose file this is."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Manifest:
    """Every file of a bundle but the manifest and its signature, in their order."""

    files: tuple[File, ...]
    edgeproxy: str
    """The version that made the bundle."""
    wheels_for: str = ""
    """The Python and the system that its wheels are for; empty without wheels."""

    def of(self, kind: str) -> list[File]:
        """The files of one kind."""
        return [file for file in self.files if file.kind == kind]

    @property
    def trios(self) -> list[str]:
        """The names of the trios in it."""
        return [file.trio for file in self.of("trio") if file.name == RECIPE]

    def to_bytes(self) -> bytes:
        """The manifest as JSON, a file a line."""
        files = ",\n".join("  " + json.dumps(asdict(file)) for file in self.files)
        head = {"format": FORMAT, "version": VERSION, "edgeproxy": self.edgeproxy}
        lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
        lines += [f' "wheels_for": {json.dumps(self.wheels_for)},\n'] if self.wheels_for else []
        return ("{\n" + "".join(lines) + f' "files": [\n{files}\n ]\n}}\n').encode("ascii")


def parse(content: bytes) -> Manifest:
    """The manifest in `content`. Raises `BundleError` for one that is malformed in any way."""
    try:
        found = json.loads(content.decode("ascii"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"its manifest is not valid JSON ({error})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BundleError("its manifest is not that of an edgeproxy bundle")
    if found.get("version") != VERSION:
        raise BundleError(
            f"it is of version {found.get('version')!r}, and this edgeproxy reads {VERSION}; "
            "use the edgeproxy that made it, or update this one"
        )
    _refuse_others(found, {"format", "version", "edgeproxy", "wheels_for", "files"}, "")
    files = found.get("files")
    if not isinstance(files, list) or not files:
        raise BundleError("its manifest lists no files")
    if len(files) > MAX_FILES:
        raise BundleError(f"its manifest lists {len(files):,} files, more than {MAX_FILES:,}")
    manifest = Manifest(
        tuple(map(_file, files)), _line(found, "edgeproxy"), _line(found, "wheels_for")
    )
    _check_order(manifest.files)
    _check_trios(manifest)
    if manifest.to_bytes() != content:
        raise BundleError("its manifest is not written as edgeproxy writes it")
    return manifest


def check(manifest: Manifest) -> bytes:
    """`manifest` as JSON. Raises `BundleError` unless a reader will accept that."""
    content = manifest.to_bytes()
    if len(content) > MAX_MANIFEST:
        raise BundleError("a bundle of so many files could not be read again; make two")
    parse(content)
    return content


def in_order(things: Iterable[Thing], file_of: Callable[[Thing], File]) -> list[Thing]:
    """`things` in the order that their files have in a bundle."""
    return sorted(things, key=lambda thing: _place(file_of(thing)))


def _place(file: File) -> tuple[int, str]:
    return [kind for kind, _, _ in _KINDS].index(file.kind), file.path


def check_path(path: object) -> str:
    """`path` of a member, if it may be one. Raises `BundleError` that says why not."""
    if not isinstance(path, str) or not path:
        raise BundleError(f"its manifest has a path {path!r}")
    if not path.isascii() or not path.isprintable():
        raise BundleError(f"the path {path!a} has characters that a bundle's paths may not have")
    if path.startswith("/") or "\\" in path or ":" in path:
        raise BundleError(f"the path {path!r} is absolute, or of another system")
    parts = path.split("/")
    if ".." in parts or "." in parts or "" in parts:
        raise BundleError(f"the path {path!r} leads out of its folder, or is not in its short form")
    for part in parts:
        if naming.is_device(part) or part[-1] in ". ":
            raise BundleError(f"the path {path!r} has a name that Windows cannot have")
    if not any(pattern.fullmatch(path) for _, pattern, _ in _KINDS):
        raise BundleError(f"the path {path!r} is of no kind of file that a bundle holds")
    return path


def _file(row: object) -> File:
    if not isinstance(row, dict):
        raise BundleError("its manifest lists something that is not a file")
    _refuse_others(row, {field.name for field in fields(File)}, "files: ")
    path = check_path(row.get("path"))
    size, sha256 = row.get("size"), row.get("sha256")
    most = next(most for _, pattern, most in _KINDS if pattern.fullmatch(path))
    if type(size) is not int or not 0 <= size <= most:
        raise BundleError(f"{path}: its size is {size!r}, which is not 0 to {most:,} bytes")
    if not isinstance(sha256, str) or not naming.is_sha256(sha256):
        raise BundleError(f"{path}: its sha256 is not 64 hexadecimal digits")
    file = File(path, size, sha256)
    if file.kind == "model" and file.name != sha256:
        raise BundleError(f"{path}: a model is named by its sha256, and this one's is {sha256}")
    return file


def _check_order(files: tuple[File, ...]) -> None:
    for before, after in pairwise(files):
        if before.path == after.path:
            raise BundleError(f"its manifest lists {after.path} twice")
        if _place(before) > _place(after):
            raise BundleError(f"its manifest lists {after.path} out of order")
    folded: dict[str, str] = {}
    for file in files:
        for whole in (file.path, file.path.rpartition("/")[0]):
            other = folded.setdefault(whole.casefold(), whole)
            if other != whole:
                raise BundleError(f"{other} and {whole} are one file on some systems")


def _check_trios(manifest: Manifest) -> None:
    trios = manifest.trios
    if not trios:
        raise BundleError("its manifest lists no trio")
    for file in manifest.of("trio"):
        if file.trio not in trios:
            raise BundleError(f"{file.path} belongs to no trio of the bundle")
    if not manifest.files[0].path == INSTALL:
        raise BundleError(f"its manifest does not list {INSTALL}")
    if bool(manifest.of("wheel")) != bool(manifest.wheels_for):
        raise BundleError("its manifest contradicts itself about wheels")


def _line(content: Mapping[str, Any], key: str) -> str:
    """A short line of text. Absent is empty."""
    value = content.get(key, "")
    if not isinstance(value, str) or len(value) > 200 or not value.isascii():
        raise BundleError(f"its manifest's {key} is not a line of text")
    if value and not value.isprintable():
        raise BundleError(f"its manifest's {key} has control characters")
    return value


def _refuse_others(content: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(content) - known)
    if unknown:
        raise BundleError(f"its manifest has an unknown key {where}{unknown[0]!a}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found
