"""A recipe's files from the hub, or from where they are already, checked and installed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from edgeproxy.errors import HubError, StoreError
from edgeproxy.files import CHUNK, hash_file
from edgeproxy.gguf import Header
from edgeproxy.trios.manifest import Recipe, Role, Source, to_toml
from edgeproxy.trios.pull.check import check_file, check_trio
from edgeproxy.trios.pull.fetch import Sleep, Watch, fetch, look, refuse_another
from edgeproxy.trios.pull.hub import Hub
from edgeproxy.trios.store import Incoming, Store

Origin = Literal["hub", "cache", "store"]
"""Where a file came from: the hub, the hub's cache on this machine, or it was here already."""


class Wanted(NamedTuple):
    """A file that a role needs, of which size and hash are known by now."""

    role: Role
    source: Source
    sha256: str
    size: int
    cached: Path | None = None


@dataclass(frozen=True)
class Pulled:
    """An installed trio: its roles' paths are the store's, `origins` says where they came from.

    `doubts` are sentences on what the pair cannot say, empty as a rule.
    """

    recipe: Recipe
    origins: Mapping[str, Origin]
    doubts: list[str]


def pull(
    recipe: Recipe,
    store: Store,
    hub: Hub,
    watch: Watch | None = None,
    *,
    replacing: bool = False,
    sleep: Sleep = time.sleep,
) -> Pulled:
    """Install the trio of `recipe`, whose roles all have a `source`.

    What is in the store or in the hub's cache already is not fetched again. Nothing is installed
    before all of it is there, sound, and what the recipe says; what was fetched of an unfinished
    pull stays for the next. A sha256 that the recipe lacks is the hub's. An installed trio of the
    same name is replaced if `replacing`.

    Raises `HubError` where the hub refuses, is out of reach or has other files; `StoreError` for a
    wrong hash, a full disk, or another trio of that name; `VocabularyError` and `UsageError` for
    models that make no trio.
    """
    watch = watch or Watch()
    if not replacing:
        _refuse_other(recipe, store)
    wanted = {name: _locate(role, store, hub, watch, sleep) for name, role in recipe.roles.items()}
    # A wrong one is found sooner among the small ones.
    files = sorted({w.sha256: w for w in wanted.values()}.values(), key=lambda w: w.size)
    missing = {w.sha256: w for w in files if not store.has(w.sha256, w.size)}
    store.check_space(sum(w.size - store.received(w.sha256) for w in missing.values()))
    origins: dict[str, Origin] = {}
    headers: dict[str, Header] = {}
    with store.hold(w.sha256 for w in files):
        for each in files:
            origins[each.sha256] = _bring(each, store, hub, watch, sleep)
            watch.finished(each.role.file_name, each.size, origins[each.sha256])
            for name, role in recipe.roles.items():
                if wanted[name].sha256 == each.sha256:
                    headers[name] = check_file(role, store.blob(each.sha256))
        roles = {
            name: replace(
                each.role,
                path=store.blob(each.sha256),
                file=each.role.file_name,
                sha256=each.sha256,
            )
            for name, each in wanted.items()
        }
        recipe, doubts = check_trio(recipe.with_roles(roles), headers)
        store.install(recipe.name, to_toml(recipe), replace=replacing)
    return Pulled(recipe, {name: origins[w.sha256] for name, w in wanted.items()}, doubts)


def _refuse_other(recipe: Recipe, store: Store) -> None:
    """Raise `StoreError`, before anything is fetched, where another trio has that name."""
    if recipe.name not in store.names():
        return
    try:
        there = store.recipe(recipe.name)
    except StoreError:
        return  # a damaged one is put right
    for name, role in recipe.roles.items():
        other = there.roles[name]
        if role.source != other.source or role.sha256 not in (None, other.sha256):
            raise StoreError(
                f"another trio called {recipe.name} is installed; choose another --name, or "
                "--replace it"
            )


def _locate(role: Role, store: Store, hub: Hub, watch: Watch, sleep: Sleep) -> Wanted:
    """Find out where a role's file can be had, asking the hub only for what is not here."""
    source, sha256, size = role.source, role.sha256, role.size
    if source is None:
        raise HubError(f"{role.file_name}: the recipe does not say where on a hub it is")
    if sha256 and store.has(sha256):
        blob, there = store.blob(sha256), store.blob(sha256).stat().st_size
        # Whose size is wrong, the recipe's or the file's, its hash tells.
        if size in (None, there) or _hash(blob, role, watch) == sha256:
            return Wanted(role, source, sha256, there)
    cached = hub.cached(source)
    there = cached.stat().st_size if cached else 0
    if cached and (sha256 or (hub.offline and size in (None, there))):
        found = _hash(cached, role, watch)
        if found == (sha256 or found):
            return Wanted(role, source, found, there, cached)
        watch.noted(f"{role.file_name}: its copy in the hub's cache is damaged, and not used")
    if hub.offline:
        raise hub.is_offline(role.file_name)
    remote = look(hub, source, watch, sleep)
    refuse_another(source, remote, size, sha256)
    known = sha256 or remote.sha256
    if known is None:
        raise HubError(
            f"{role.file_name}: the hub does not say its sha256; give it, as #sha256=DIGITS or in "
            "the recipe"
        )
    return Wanted(role, source, known, remote.size)


def _hash(path: Path, role: Role, watch: Watch) -> str:
    size = path.stat().st_size
    return hash_file(path, lambda done: watch.checking(role.file_name, done, size))


def _bring(wanted: Wanted, store: Store, hub: Hub, watch: Watch, sleep: Sleep) -> Origin:
    """Have a file in the store; where it came from."""
    name, size = wanted.role.file_name, wanted.size
    origin: Origin = "cache" if wanted.cached else "hub"
    with store.incoming(
        wanted.sha256,
        size,
        progress=lambda done: watch.checking(name, done, size),
        waiting=lambda: watch.waiting(name, "another edgeproxy is fetching it"),
    ) as into:
        if into.complete:
            return "store"
        if wanted.cached:
            _copy(wanted.cached, into, name, watch)
        else:
            fetch(hub, wanted.source, wanted.sha256, into, watch, sleep)
        try:
            into.commit()
        except StoreError as error:
            raise StoreError(f"{name} from {wanted.source.repo}: {error}") from None
    return origin


def _copy(cached: Path, into: Incoming, name: str, watch: Watch) -> None:
    with cached.open("rb") as file:
        file.seek(into.have)
        while into.have < into.size and (chunk := file.read(CHUNK)):
            into.write(chunk)
            watch.moved(name, into.have, into.size)
