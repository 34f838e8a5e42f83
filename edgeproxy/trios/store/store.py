"""The store: files received, trios added and removed, each by one rename."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edgeproxy.errors import StoreError
from edgeproxy.files import sync_folder, write_new
from edgeproxy.trios import disk
from edgeproxy.trios.home import LOCK
from edgeproxy.trios.manifest import MANIFEST, parse_recipe
from edgeproxy.trios.store import naming, work
from edgeproxy.trios.store.incoming import Incoming
from edgeproxy.trios.store.installed import Installed

_POLL_SECONDS = 0.1
_PART = "part"


class Freed(NamedTuple):
    """What was removed: a file's sha256, or the name of unfinished work, and its bytes."""

    name: str
    size: int


class Store(Installed):
    """The installed trios below `root`, which defaults to `home()`; see the package's docstring.

    Nothing is created until something is written. Any number of processes may use one at once.
    Every method raises `StoreError` for what it cannot read or write.
    """

    @contextlib.contextmanager
    def incoming(
        self,
        sha256: str,
        size: int,
        *,
        progress: Callable[[int], None] | None = None,
        waiting: Callable[[], None] | None = None,
    ) -> Iterator[Incoming]:
        """The file with that hash on its way here; see `Incoming`.

        While another process receives the same file this one waits, calling `waiting` ten times a
        second, and then has what the other got. `progress` is called with how many bytes of an
        earlier try have been read again. Raises `StoreError` where the disk lacks the room.
        """
        blob = self.blob(sha256)
        while (taken := self._take_up(sha256)) is None:
            if waiting:
                waiting()
            time.sleep(_POLL_SECONDS)
        try:
            with disk.telling(taken.folder):
                part = Incoming(taken.folder / _PART, blob, size, self._aside(sha256), progress)
            with contextlib.closing(part):
                yield part
        finally:
            self._end(taken, keep=self.received(sha256) > 0)

    def received(self, sha256: str) -> int:
        """How many bytes of the file with that hash an unfinished try has left."""
        with disk.telling(self.tmp):
            return disk.regular_size(self.tmp / sha256 / _PART) or 0

    @contextlib.contextmanager
    def hold(self, sha256s: Iterable[str]) -> Iterator[None]:
        """Keep others from removing these files meanwhile, here already or still to come.

        For whoever gets the files of a trio one after the other, and installs it at the end.
        """
        with self._changing():
            held = work.hold(self.tmp, sha256s)
        try:
            yield
        finally:
            self._end(held)

    def check_space(self, needed: int) -> None:
        """Raise `StoreError` unless the disk has room for `needed` more bytes."""
        disk.check_space(self.root, needed)

    def install(
        self,
        name: str,
        manifest: bytes | str,
        extra: Mapping[str, bytes] | None = None,
        replace: bool = False,
    ) -> None:
        """Install the trio whose manifest this is; its files must be here. `extra` lies beside it.

        One that is installed already, in the same words or damaged, is put right; another one of
        that name is replaced only with `replace`. Raises `StoreError`, or `ManifestError` for a
        manifest that is wrong; nothing has changed then.
        """
        data = manifest.encode("utf-8") if isinstance(manifest, str) else manifest
        naming.check_trio(name)
        naming.check_extra(extra or ())
        recipe = parse_recipe(data, Path(MANIFEST), self._place)
        if recipe.name != name:
            raise StoreError(f"the manifest of {name} calls it {recipe.name!r}; they must agree")
        if not {file.sha256 for _, file in recipe.files} <= naming.hashes_in(data):
            raise StoreError(f"the manifest of {name} spells a sha256 with escapes; write it plain")
        with self._changing():
            problem = self._lacks(recipe)
            if problem:
                raise StoreError(f"{name} cannot be installed: {problem}")
            self._check_free(name, data, replace)
            with work.working(self.tmp, "install") as folder:
                self._put(name, {**(extra or {}), MANIFEST: data}, folder)

    def remove(self, name: str) -> list[Freed]:
        """Remove a trio, and those of its files that no other trio names; what that freed.

        Raises `StoreError` where it is not installed.
        """
        self._check_installed(name)
        with self._changing():
            self._check_installed(name)
            mine, others = self._named_by(name), self._in_use(but=name)
            with work.working(self.tmp, "removed") as folder:
                (self.trios / name).rename(folder / name)
                sync_folder(self.trios)
                return self._free(mine - others)

    def clean(self) -> list[Freed]:
        """Remove what no trio names and what no process works on; what that freed."""
        if not self.root.exists():
            return []
        with self._changing():
            left = work.leftovers(self.tmp)
            freed = [Freed(path.name, disk.tree_size(path)) for path in left]
            for path in left:
                work.discard(path)
            return freed + self._free(self._unused())

    def rubbish(self) -> int:
        """How many bytes `clean` would free."""
        if not self.root.exists():
            return 0
        with self._changing():
            paths = [*work.leftovers(self.tmp), *map(self.blob, self._unused())]
            return sum(map(disk.tree_size, paths))

    def set_aside(self, sha256: str) -> Path:
        """Move a damaged file out of the way, so that it can be had again; where it is now."""
        aside = self._aside(sha256)
        with self._changing():
            disk.make_folders(aside.parent)
            self.blob(sha256).replace(aside)
        return aside

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """The store's lock, held; `OSError`s become `StoreError`s."""
        with disk.telling(self.root):
            disk.make_folders(self.root)
            with disk.lock(self.root / LOCK):
                yield

    def _take_up(self, name: str) -> work.Work | None:
        with self._changing():
            return work.take_up(self.tmp, name)

    def _end(self, ended: work.Work, keep: bool = False) -> None:
        ended.release()
        if not keep:
            with self._changing():
                work.discard(ended.folder)

    def _aside(self, sha256: str) -> Path:
        return self.tmp / f"quarantine-{sha256[:16]}" / sha256

    def _check_free(self, name: str, data: bytes, replace: bool) -> None:
        """Raise `StoreError` unless a trio with this manifest may take this name."""
        near = [other for other in self.names() if other.casefold() == name.casefold()]
        if near not in ([], [name]):
            raise StoreError(f"{name} differs from {near[0]}, which is installed, in case only")
        if near and not replace:
            try:
                self.recipe(name)
                same = (self.trios / name / MANIFEST).read_bytes() == data
            except StoreError:
                return
            if not same:
                raise StoreError(f"another trio called {name} is installed; remove it first")

    def _put(self, name: str, files: Mapping[str, bytes], folder: Path) -> None:
        """Write `files`, in `folder` first; the manifest comes last, because it decides."""
        made, trio = folder / name, self.trios / name
        made.mkdir()
        for file, data in files.items():
            write_new(made / file, data)
        sync_folder(made)
        disk.make_folders(self.trios)
        if not trio.exists():
            made.rename(trio)
        else:
            for file in files:
                (made / file).replace(trio / file)
            sync_folder(trio)
            for path in trio.iterdir():
                if path.name not in files:
                    disk.remove_file(path)
        sync_folder(self.trios)

    def _named_by(self, name: str) -> set[str]:
        """The blobs that the manifest in this folder of trios/ names, in whatever state it is."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return naming.hashes_in((self.trios / name / MANIFEST).read_bytes())
        return set()

    def _in_use(self, but: str = "") -> set[str]:
        """The blobs that a trio names, other than `but`, or that a process needs."""
        found = work.held_blobs(self.tmp)
        for folder in self.trios.iterdir() if self.trios.exists() else ():
            if folder.name != but:
                found |= self._named_by(folder.name)
        return found

    def _unused(self) -> set[str]:
        if not self.blobs.exists():
            return set()
        there = set(filter(naming.is_sha256, (path.name for path in self.blobs.iterdir())))
        return there - self._in_use()

    def _free(self, sha256s: Iterable[str]) -> list[Freed]:
        """Remove these blobs, as far as they are here."""
        freed = []
        for sha256 in sorted(sha256s):
            size = disk.regular_size(self.blob(sha256))
            if size is not None:
                disk.remove_file(self.blob(sha256))
                freed.append(Freed(sha256, size))
        return freed
