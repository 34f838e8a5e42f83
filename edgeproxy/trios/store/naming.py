"""What may be called what: trios, the files beside a manifest, and blobs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeproxy.errors import StoreError
from edgeproxy.trios.manifest import MANIFEST

_TRIO = re.compile(r"[A-Za-z0-9_][\w.-]{0,63}(?<!\.)", re.ASCII)
_EXTRA = re.compile(r"[A-Za-z0-9_][\w. +()-]{0,99}(?<![. ])", re.ASCII)
# Whatever follows a dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_SHA256 = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def is_trio(name: str) -> bool:
    """Whether a trio can have this name, on every platform."""
    return bool(_TRIO.fullmatch(name)) and not is_device(name)


def is_device(name: str) -> bool:
    """Whether Windows opens a device by this name, in whatever folder."""
    return bool(_DEVICE.fullmatch(name))


def check_trio(name: str) -> None:
    """Raise `StoreError` unless `name` can be a trio's."""
    if not is_trio(name):
        raise StoreError(
            f"{name!r} cannot be the name of a trio: letters, digits, '_', '-', '.', at most 64, "
            "and no device's name"
        )


def check_extra(names: Iterable[str]) -> None:
    """Raise `StoreError` unless files with these names can lie beside a manifest."""
    seen = {MANIFEST}
    for name in names:
        if not _EXTRA.fullmatch(name) or is_device(name) or name.casefold() in seen:
            raise StoreError(f"{name!r} cannot be the name of a file beside a manifest")
        seen.add(name.casefold())


def is_sha256(text: str) -> bool:
    """Whether `text` is 64 hexadecimal digits, in lower case."""
    return bool(_SHA256.fullmatch(text.encode("utf-8", "replace")))


def hashes_in(data: bytes) -> set[str]:
    """All that looks like a sha256 in `data`.

    What a manifest uses is found so, rather than by its schema: a damaged manifest, and one that a
    later edgeproxy wrote, must not lose its files to a removal.
    """
    return {found.decode() for found in _SHA256.findall(data)}
