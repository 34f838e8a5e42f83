"""Alignments kept on disk, by all that they depend on: both tokenizers, and who runs them.

May touch: files in this user's cache folder (`EDGEPROXY_CACHE` names another one). A file that
cannot be read, or holds what it should not, is built again; one that cannot be written is not.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
import platformdirs

from edgeproxy import files
from edgeproxy.align.tables import Arrays, Progress, Tables, build
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab

_VERSION = "edgeproxy alignment 5"
_SEAL = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def tables_for(
    base: Vocab, own: Vocab, progress: Progress | None = None, cancel: Cancel | None = None
) -> Tables:
    """The tables for a model with the vocabulary `own` under `base`: kept ones, or built.

    `progress` and `cancel` as for `build`.
    """
    key, kept = _key(base, own), folder()
    if key is None or kept is None:
        return Tables(base, own, build(base, own, progress, cancel))
    path = kept / f"{key}.tables"
    arrays = _read(path, key, len(base), len(own))
    if arrays is None:
        arrays = build(base, own, progress, cancel)
        _write(path, key, arrays)
    return Tables(base, own, arrays)


def folder() -> Path | None:
    """Where alignments are kept; None where this user has no folder for such things."""
    root = files.own_folder("EDGEPROXY_CACHE", platformdirs.user_cache_path)
    return root / "alignments" if root else None


def same_tokenizer(one: Vocab, other: Vocab) -> bool:
    """Whether both are known to have the same texts and the same spellings of them."""
    name = _name(one)
    return name is not None and name == _name(other)


def _key(base: Vocab, own: Vocab) -> str | None:
    """What names the tables of these two; None where it is not known what they depend on."""
    names = _name(base), _name(own)
    return None if None in names else hashlib.sha256(f"{_VERSION} {names}".encode()).hexdigest()


def _name(vocab: Vocab) -> str | None:
    if not vocab.fingerprint:
        return None
    # No text to us, but to the tokenizer; the fingerprint has the kinds, but not who ends a reply.
    ends = sorted(token for token in vocab.end_of_generation if vocab.piece(token))
    return f"{vocab.fingerprint} {ends}"


def _read(path: Path, key: str, n_base: int, n_own: int) -> Arrays | None:
    try:
        with files.open_regular(path) as file:
            seal, content = file.read(_SEAL), file.readall()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.info("%s: cannot be read (%s); building it again", path, error)
        return None
    if seal == _seal(key, content):
        stream = io.BytesIO(content)
        arrays = Arrays(*(np.load(stream, allow_pickle=False) for _ in fields(Arrays)))
        if _is_sound(arrays, n_base, n_own):
            return arrays
    _log.info("%s: is damaged, or another alignment's; building it again", path)
    return None


def packed(key: str, arrays: Arrays) -> bytes:
    """What is kept in a file: the seal, and then each array as NumPy's `.npy` files have it."""
    stream = io.BytesIO()
    for field in fields(Arrays):
        np.save(stream, getattr(arrays, field.name), allow_pickle=False)
    return _seal(key, stream.getbuffer()) + stream.getvalue()


def _seal(key: str, content: bytes | memoryview) -> bytes:
    """What a file begins with: a hash of the arrays after it, and of what they belong to."""
    return hashlib.sha256(key.encode() + content).digest()


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


def _write(path: Path, key: str, arrays: Arrays) -> None:
    """By way of a temporary file, so that two processes may write at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(packed(key, arrays))
    except OSError as error:
        _log.info("%s: not kept (%s)", path, error)
