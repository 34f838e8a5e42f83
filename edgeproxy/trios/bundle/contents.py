"""What is in a bundle, checked: manifests by their schema, models by their headers, all by hashes.

May touch: the bundle, read only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from edgeproxy.errors import ManifestError, ModelFileError
from edgeproxy.files import ByteProgress
from edgeproxy.gguf import Header, read_adapter_inside, read_inside
from edgeproxy.trios.bundle.manifest import RECIPE, File
from edgeproxy.trios.bundle.reader import Bundle
from edgeproxy.trios.manifest import Recipe, parse_recipe
from edgeproxy.trios.manifest.table import Table

Checked = TypeVar("Checked")


class BundledTrio(NamedTuple):
    """One trio of a bundle: what its manifest says, the manifest, and the texts beside it."""

    recipe: Recipe
    manifest: bytes
    texts: Mapping[str, bytes]


def read_trios(bundle: Bundle, folder: Path) -> list[BundledTrio]:
    """The trios of a bundle, whose models are to be in `folder`, by their sha256.

    Raises `BundleError` for one whose manifest is wrong, and where the bundle holds other models
    than its trios have.
    """
    trios = [_read_trio(bundle, name, folder) for name in bundle.manifest.trios]
    there = {file.sha256: file.size for file in bundle.manifest.of("model")}
    wanted: set[str] = set()
    for trio in trios:
        for _, role in trio.recipe.files:
            if role.sha256 not in there:
                raise bundle.error(f"{role.file_name} of the trio {trio.recipe.name} is not in it")
            if role.size != there[role.sha256]:
                raise bundle.error(
                    f"the manifest of {trio.recipe.name} gives {role.file_name} another size than "
                    "it has"
                )
            wanted.add(role.sha256)
    spare = sorted(set(there) - wanted)
    if spare:
        raise bundle.error(f"models/{spare[0]} belongs to none of its trios")
    return trios


def verify(bundle: Bundle, progress: ByteProgress | None = None) -> list[BundledTrio]:
    """Check every byte of a bundle, and keep none. Raises `BundleError` for what is wrong."""
    trios = read_trios(bundle, Path("models"))
    check_models(bundle, trios)
    report = Report(bundle, progress)
    for file in rest(bundle):
        for block in bundle.blocks(file):
            report.done(file, len(block))
    return trios


def rest(bundle: Bundle) -> Iterator[File]:
    """The files of a bundle besides its trios' manifests and texts, which have been read by now."""
    return (file for file in bundle.manifest.files if file.kind != "trio")


def check_models(bundle: Bundle, trios: Iterable[BundledTrio]) -> None:
    """Check the header of every model, and of adapters that they fit. Raises `BundleError`."""
    files = {file.sha256: file for file in bundle.manifest.of("model")}
    headers: dict[str | None, Header] = {}

    def checked(sha256: str | None, read: Callable[..., Checked], *more: Header) -> Checked:
        file = files[sha256 or ""]
        try:
            with bundle.inside(file) as opened:
                return read(opened, bundle.path, file.size, *more)
        except ModelFileError as error:
            raise bundle.error(f"{file.path}: {error.what}") from None

    for trio in trios:
        for role in trio.recipe.roles.values():
            if role.sha256 not in headers:
                headers[role.sha256] = checked(
                    role.sha256, partial(read_inside, vocab_only=role.vocab_only)
                )
            for lora in role.loras:
                checked(lora.sha256, read_adapter_inside, headers[role.sha256])


class Report:
    """How far the work on a bundle has come, for whoever asked to be told."""

    def __init__(self, bundle: Bundle, progress: ByteProgress | None) -> None:
        self._progress, self._done = progress, 0
        self._all = sum(file.size for file in bundle.manifest.files if file.kind != "trio")

    def done(self, file: File, count: int) -> None:
        """Another `count` bytes of `file` have been read."""
        self._done += count
        if self._progress:
            self._progress(file.path, self._done, self._all)


def _read_trio(bundle: Bundle, name: str, folder: Path) -> BundledTrio:
    files = [file for file in bundle.manifest.of("trio") if file.trio == name]
    texts = {file.name: bundle.read(file) for file in files}
    manifest = texts.pop(RECIPE)

    def place(table: Table) -> Path:
        sha256 = table.string("sha256")
        return folder / sha256

    try:
        recipe = parse_recipe(manifest, Path(f"trios/{name}/{RECIPE}"), place)
    except ManifestError as error:
        raise bundle.error(error) from None
    if recipe.name != name:
        raise bundle.error(f"the manifest in trios/{name} is that of {recipe.name!r}")
    return BundledTrio(recipe, manifest, texts)
