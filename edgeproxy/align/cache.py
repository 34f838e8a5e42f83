"""Alignments kept on disk, by the hashes of both vocabularies.

May touch: files in this user's cache folder (`EDGEPROXY_CACHE` names another one). A file that
cannot be read, or holds what it should not, is built again; one that cannot be written is not.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import platformdirs

from edgeproxy import files
from edgeproxy.align.tables import Arrays, Tables, build
from edgeproxy.core.vocab import Vocab

_VERSION = b"edgeproxy alignment 4"
_log = logging.getLogger(__name__)


def tables_for(base: Vocab, own: Vocab) -> Tables:
    """The tables for a model with the vocabulary `own` under `base`: kept ones, or built."""
    kept = folder()
    path = kept / f"{_key(base, own)}.npz" if kept else None
    arrays = _read(path, len(base), len(own)) if path else None
    if arrays is None:
        arrays = build(base, own)
        if path:
            _write(path, arrays)
    return Tables(base, own, arrays)


def folder() -> Path | None:
    """Where alignments are kept; None where this user has no folder for such things."""
    root = files.own_folder("EDGEPROXY_CACHE", platformdirs.user_cache_path)
    return root / "alignments" if root else None


def _key(*vocabs: Vocab) -> str:
    digest = hashlib.sha256(_VERSION)
    for vocab in vocabs:
        lengths = np.fromiter(map(len, vocab.texts), np.int64, len(vocab))
        digest.update(lengths.tobytes())
        digest.update(b"".join(vocab.texts))
    return digest.hexdigest()


def _read(path: Path, n_base: int, n_own: int) -> Arrays | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = Arrays(**{field.name: file[field.name] for field in fields(Arrays)})
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a damaged archive fails in a dozen ways
        _log.info("%s: cannot be read (%s); building it again", path, error)
        return None
    if not _is_sound(arrays, n_base, n_own):
        _log.info("%s: is damaged; building it again", path)
        return None
    return arrays


def _is_sound(arrays: Arrays, n_base: int, n_own: int) -> bool:
    """Whether every index lies where it must: NumPy would raise, or wrap around, in mid-reply."""
    limits = {
        "own_order": n_own,
        "one": n_own + 1,
        "many_base": n_base,
        "many_starts": max(1, len(arrays.many_own)),
        "many_own": n_own,
    }
    for name, limit in limits.items():
        array = getattr(arrays, name)
        if array.ndim != 1 or array.dtype.kind != "i":
            return False
        if array.size and not 0 <= array.min() <= array.max() < limit:
            return False
    return (
        len(arrays.one) == n_base
        and arrays.exact.shape == (n_base,)
        and arrays.exact.dtype == bool
        and len(arrays.many_base) == len(arrays.many_starts)
        and bool((np.diff(arrays.many_starts) > 0).all())
    )


def _write(path: Path, arrays: Arrays) -> None:
    """By way of a temporary file, so that two processes may write at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            np.savez(file, **asdict(arrays))
    except OSError as error:
        _log.info("%s: not kept (%s)", path, error)
