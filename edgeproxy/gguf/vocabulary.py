"""A model file without its weights: what a tokenizer is made of, and nothing else.

May touch: the file, read only.
"""

from __future__ import annotations

import struct
from pathlib import Path

from edgeproxy.gguf.file import open_model

_BEGINNING = struct.Struct("<4sIQQ")
"""Of a GGUF file: "GGUF", its version, and how many tensors and keys it has."""


def vocabulary_only(path: Path) -> bytes:
    """The GGUF file at `path` as one of the same metadata and no tensors, a few megabytes.

    Raises `ModelFileError` for a file that is not sound, or has no vocabulary.
    """
    with open_model(path, vocab_only=True) as file:
        magic, version, _, keys = _BEGINNING.unpack(file.read_at(0, _BEGINNING.size))
        rest = file.read_at(_BEGINNING.size, file.header.keys_end - _BEGINNING.size)
        file.check_unchanged()
    return _BEGINNING.pack(magic, version, 0, keys) + rest
