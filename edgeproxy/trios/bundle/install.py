"""A bundle's trios into the store: models while they are hashed, and nothing counts before the end.

May touch: the bundle, read only; the store.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from edgeproxy.errors import StoreError
from edgeproxy.files import ByteProgress
from edgeproxy.trios.bundle.contents import BundledTrio, Report, check_models, read_trios, rest
from edgeproxy.trios.bundle.manifest import File
from edgeproxy.trios.bundle.reader import Bundle
from edgeproxy.trios.manifest import to_toml
from edgeproxy.trios.store import Incoming, Store


class Installed(NamedTuple):
    """What became of one trio of a bundle; `was_there` says that it had been installed before."""

    trio: BundledTrio
    was_there: bool


def install(
    bundle: Bundle, store: Store, *, replace: bool = False, progress: ByteProgress | None = None
) -> list[Installed]:
    """Install the trios of a bundle, after every byte of it was checked.

    A trio that is installed already with the same content is left alone; one with another content
    is only exchanged with `replace`. Models that the store has are not written again. Raises
    `BundleError` for a bundle in which anything is wrong, `StoreError` for a store that refuses a
    trio or has no room for it; what was installed before is as it was then.
    """
    trios = read_trios(bundle, store.blobs)
    there = [_is_there(trio, store, replace) for trio in trios]
    new = [trio for trio, is_there in zip(trios, there, strict=True) if not is_there]
    wanted = {role.sha256 for trio in new for _, role in trio.recipe.files}
    missing = {
        file
        for file in bundle.manifest.of("model")
        if file.sha256 in wanted and not store.has(file.sha256, file.size)
    }
    check_models(bundle, trios)
    store.check_space(sum(file.size for file in missing))
    report = Report(bundle, progress)
    with contextlib.ExitStack() as stack:
        if new:
            stack.enter_context(store.hold(sorted(filter(None, wanted))))
        parts = []
        for file in rest(bundle):
            if file in missing:
                tick = functools.partial(report.done, file, 0)
                parts.append(stack.enter_context(_receiving(store, file, tick)))
            for block in bundle.blocks(file):
                if file in missing:
                    parts[-1].write(block)
                report.done(file, len(block))
        for part in parts:
            part.commit()
        for trio in new:
            store.install(trio.recipe.name, trio.manifest, trio.texts, replace=replace)
    return [Installed(trio, is_there) for trio, is_there in zip(trios, there, strict=True)]


def _is_there(trio: BundledTrio, store: Store, replace: bool) -> bool:
    name = trio.recipe.name
    if name not in store.names():
        return False
    try:
        installed = store.recipe(name)
    except StoreError:
        return False  # a damaged one is made whole
    if to_toml(installed) == to_toml(trio.recipe):  # wherever its files lie
        return True
    if not replace:
        raise StoreError(
            f"another trio called {name} is installed; --replace puts the bundle's in its place"
        )
    return False


class _Part:
    """A model on its way into the store, of which an earlier try may have left the beginning."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming, self._at = incoming, 0
        self.commit = incoming.commit

    def write(self, block: bytes) -> None:
        """The next bytes of the model, from its start on."""
        known = self._incoming.have - self._at
        self._at += len(block)
        if known < len(block):
            self._incoming.write(block[known:])


@contextlib.contextmanager
def _receiving(store: Store, file: File, tick: Callable[[], None]) -> Iterator[_Part]:
    """Room for `file` in the store; nothing new stays in it when this is left by an exception."""
    waiting = store.incoming(file.sha256, file.size, progress=lambda _: tick(), waiting=tick)
    with waiting as incoming:
        had = incoming.have
        try:
            yield _Part(incoming)
        except BaseException:
            if not had and not incoming.complete:
                with contextlib.suppress(StoreError):
                    incoming.restart()
            raise
