"""Small trios for tests of the store: three files of a few bytes, and a manifest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edgeproxy.trios.manifest import Recipe, Role, to_toml
from edgeproxy.trios.store import Store

BASE = b"what two trios share " * 40
LICENCE = {"LICENCE.txt": b"Do as you like.\n"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_of(name: str) -> tuple[bytes, bytes, bytes]:
    """What base, expert and anti-expert of the trio called `name` hold; all share a base."""
    return BASE, f"the expert of {name} ".encode() * 20, f"the other of {name} ".encode() * 20


def manifest(name: str, files: Iterable[bytes] | None = None, description: str = "") -> str:
    base, expert, anti_expert = (
        Role(Path(f"{role}.gguf"), size=len(data), sha256=sha256(data))
        for role, data in zip("xyz", files or files_of(name), strict=True)
    )
    return to_toml(Recipe(name, base, expert, anti_expert, description=description))


def receive(store: Store, data: bytes, piece: int = 300) -> int:
    """Put `data` into the store, after what is there of it; how many bytes were written."""
    with store.incoming(sha256(data), len(data)) as incoming:
        start = incoming.have
        for at in range(start, len(data), piece):
            incoming.write(data[at : at + piece])
        incoming.commit()
    return len(data) - start


def install(store: Store, name: str, description: str = "", replace: bool = False) -> None:
    """Receive the files of the trio called `name`, and install it."""
    files = files_of(name)
    with store.hold(map(sha256, files)):
        for data in files:
            if not store.has(sha256(data), len(data)):
                receive(store, data)
        store.install(name, manifest(name, None, description), LICENCE, replace)


def problems(store: Store, *needed: str) -> list[str]:
    """What is wrong with a store: a trio of `needed` that is missing, or anything half there."""
    found = [f"{name} is missing" for name in needed if name not in store.names()]
    try:
        for finding in store.verify():
            if finding.problem:
                found.append(f"{finding.trio}: {finding.file}: {finding.problem}")
        for name in store.names():
            store.recipe(name)
            beside = (store.trios / name / "LICENCE.txt").read_bytes()
            if beside != LICENCE["LICENCE.txt"]:
                found.append(f"{name}: its licence is {beside!r}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the store did not open
        found.append(f"{type(error).__name__}: {error}")
    for blob in store.blobs.iterdir() if store.blobs.exists() else ():
        if sha256(blob.read_bytes()) != blob.name:
            found.append(f"the blob {blob.name} holds something else")
    return found


def rubbish(store: Store) -> list[str]:
    """What is in the store without need, once nobody works on it."""
    used = {role.path.name for name in store.names() for _, role in store.recipe(name).files}
    there = {path.name for path in store.blobs.iterdir()}
    return [*sorted(there - used), *(path.name for path in store.tmp.iterdir())]
