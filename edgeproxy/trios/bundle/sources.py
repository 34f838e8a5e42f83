"""What goes into a bundle: each file with its size and sha256, and where its bytes come from.

May touch: the trios' files and the wheels, read only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from edgeproxy.errors import BundleError, UsageError
from edgeproxy.files import ByteProgress, hash_file
from edgeproxy.gguf import Header, read, read_adapter, vocabulary_only
from edgeproxy.trios.bundle.manifest import MAX_TEXT, RECIPE, File, check_path, in_order
from edgeproxy.trios.find import shipped_folders
from edgeproxy.trios.manifest import Lora, Recipe, Role, to_toml
from edgeproxy.trios.missing import check_here
from edgeproxy.trios.store import naming

# Whoever passes models on passes these on too.
_TEXTS = re.compile(r"(licen[cs]e|copying|notice|readme)([._-][\w.-]*)?", re.IGNORECASE | re.ASCII)


class Source(NamedTuple):
    """One file of a bundle, and its bytes or the file that has them."""

    file: File
    content: bytes | Path


def gather(
    recipes: Sequence[Recipe], wheels: Sequence[Path], progress: ByteProgress | None
) -> list[Source]:
    """The files of these trios, each model once, and the wheels; in the order of a bundle.

    Reads the files whose hashes nobody knows yet. Raises `UsageError`, `ModelFileError` and
    `BundleError` for what cannot be carried.
    """
    names = [recipe.name.casefold() for recipe in recipes]
    if len(set(names)) < len(names):
        raise UsageError("two of these trios have the same name; a bundle can hold one of them")
    for recipe in recipes:
        _check_name(recipe.name)
    cut: dict[str, bytes] = {}
    recipes = [_with_sizes(recipe, cut) for recipe in recipes]
    files = [file for recipe in recipes for role in recipe.roles.values() for file in role.files]
    unknown = [file.path for file in files if file.sha256 is None]
    hashes = _hash_all([*unknown, *wheels], progress)
    sources = {}
    for recipe in (_with_hashes(recipe, hashes) for recipe in recipes):
        for source in _of_trio(recipe, cut):
            sources[source.file.path] = source
    for path in wheels:
        file = File(check_path(f"wheels/{path.name}"), path.stat().st_size, hashes[path])
        sources[file.path] = Source(file, path)
    return in_order(sources.values(), lambda source: source.file)


def text(path: str, content: bytes) -> Source:
    """A small file that is made here."""
    return Source(File(path, len(content), hashlib.sha256(content).hexdigest()), content)


def _check_name(name: str) -> None:
    if not naming.is_trio(name):
        raise BundleError(
            f"a trio called {name!r} cannot be carried: a name has letters, digits, '_', '-' and "
            "'.', at most 64 of them; change it in its trio.toml"
        )


def _hash_all(paths: Iterable[Path], progress: ByteProgress | None) -> dict[Path, str]:
    unique = dict.fromkeys(paths)
    hashes: dict[Path, str] = {}
    before, total = 0, sum(path.stat().st_size for path in unique)
    for path in unique:

        def hashed(done: int, path: Path = path, before: int = before) -> None:
            if progress:
                progress(f"hashing {path.name}", before + done, total)

        hashes[path] = hash_file(path, hashed)
        before += path.stat().st_size
    return hashes


def _with_sizes(recipe: Recipe, cut: dict[str, bytes]) -> Recipe:
    """`recipe` as it is carried, without the tuned model; its files are sound ones.

    Of a base on a server its vocabulary alone is carried, which `cut` then has by its sha256.
    """

    check_here(*(file for role in recipe.roles.values() for file in role.files))

    def sized(role: Role) -> Role:
        header = read(role.path, vocab_only=role.vocab_only)
        if role.vocab_only:
            content = vocabulary_only(role.path)
            sha256 = hashlib.sha256(content).hexdigest()
            cut[sha256] = content
            return replace(role, size=len(content), sha256=sha256)
        loras = (
            replace(lora, size=_size(lora, read_adapter(lora.path, header).header))
            for lora in role.loras
        )
        return replace(role, size=_size(role, header), loras=tuple(loras))

    return replace(recipe, tuned=None).with_roles(
        {name: sized(role) for name, role in recipe.roles.items()}
    )


def _size(of: Role | Lora, header: Header) -> int:
    size = header.file_size
    # Where there is a sha256 it decides, once the file is read; a wrong size is not carried on.
    if of.sha256 is None and of.size not in (None, size):
        raise BundleError(
            f"{of.path}: it has {size:,} bytes, not {of.size:,} as its trio says; get it again"
        )
    return size


def _with_hashes(recipe: Recipe, hashes: Mapping[Path, str]) -> Recipe:
    def hashed(role: Role) -> Role:
        loras = (replace(lora, sha256=lora.sha256 or hashes[lora.path]) for lora in role.loras)
        return replace(role, sha256=role.sha256 or hashes[role.path], loras=tuple(loras))

    return recipe.with_roles({name: hashed(role) for name, role in recipe.roles.items()})


def _of_trio(recipe: Recipe, cut: Mapping[str, bytes]) -> Iterator[Source]:
    where = f"trios/{recipe.name}/"
    yield text(where + RECIPE, to_toml(recipe).encode("utf-8"))
    for name, content in _texts(recipe).items():
        yield text(check_path(where + name), content)
    for _, file in recipe.files:
        assert file.size is not None
        assert file.sha256 is not None
        carried = cut.get(file.sha256)
        yield Source(File(f"models/{file.sha256}", file.size, file.sha256), carried or file.path)


def _texts(recipe: Recipe) -> dict[str, bytes]:
    """Licences and descriptions that lie in a trio's own folder.

    Texts beside a user's models elsewhere, as in a folder of downloads, may be anything.
    """
    folder = recipe.folder
    if folder is None:
        return {}
    found = {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if _TEXTS.fullmatch(path.name) and path.is_file() and path.stat().st_size <= MAX_TEXT
    }
    if folder.parent in shipped_folders() and "LICENSE" not in found:
        found["LICENSE"] = _own_licence()
    return found


def _own_licence() -> bytes:
    """The text of edgeproxy's licence, which is that of the trios that come with it."""
    clone = Path(__file__).parents[3]
    if (clone / "pyproject.toml").is_file():
        return (clone / "LICENSE").read_bytes()
    return (distribution("edgeproxy").read_text("licenses/LICENSE") or "").encode("utf-8")
