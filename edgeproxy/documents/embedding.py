"""Which embedding model an index's vectors are of, and the vectors of questions.

The index keeps the model's path, size, modification time and sha256: vectors of two models do not
compare, so a file that is no longer the same is an error.

May touch: the model's file, read only.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.documents.database import damaged, telling
from edgeproxy.documents.index import Index, read_setting
from edgeproxy.errors import Cancelled, DocumentError, ModelFileError
from edgeproxy.files import ByteProgress, hash_file, reason

SETTING = "embedding"
"""Its name among the index's settings."""

MOST_DIMENSIONS = 1 << 16

_LONGEST = 512
"""Of a question so many tokens are read."""


class Embeds(Protocol):
    """An embedding model in memory, as `llama.Embedder` is one."""

    dimensions: int
    cut: int
    """How many texts were longer than what was read of them."""

    @property
    def is_made_for_it(self) -> bool:
        """Whether it is an embedding model, and not one that writes."""

    def embed(self, texts: Sequence[str]) -> NDArray[Any]:
        """Their vectors, of shape (texts, dimensions), each of length 1."""

    def close(self) -> None:
        """Give the memory back."""


class Opener(Protocol):
    """Loads an embedding model, as `llama.Embedder` does."""

    def __call__(self, path: Path, /, *, longest: int, cancel: Cancel | None) -> Embeds:
        """The model from the file at `path`, which reads `longest` tokens of a text."""


@dataclass(frozen=True)
class Embedding:
    """The embedding model of an index, as its file was when it was hashed.

    `question` and `passage` are put before the texts of each kind, as some models want it.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    dimensions: int
    question: str = ""
    passage: str = ""

    @property
    def written(self) -> str:
        """It as the index keeps it."""
        return json.dumps(asdict(self) | {"path": str(self.path)}, ensure_ascii=True)

    def makes_the_same(self, other: Embedding) -> bool:
        """Whether passages have the same vectors by it as by the `other`."""
        mine, theirs = ((one.sha256, one.dimensions, one.passage) for one in (self, other))
        return mine == theirs


def read_embedding(connection: sqlite3.Connection, path: Path) -> Embedding | None:
    """The embedding model of the index at `path`; None where it has none.

    Raises SQLite's errors, and `DocumentError` for what no index has written.
    """
    written = read_setting(connection, SETTING)
    if written is None:
        return None
    try:
        found = Embedding(**{**(read := json.loads(written)), "path": Path(read["path"])})
        texts = (found.sha256, found.question, found.passage)
        numbers = (found.size, found.mtime_ns, found.dimensions)
        if not all(type(one) is str for one in texts) or not all(type(n) is int for n in numbers):
            raise ValueError(written)
        if not 1 <= found.dimensions <= MOST_DIMENSIONS:
            raise ValueError(written)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged(path, "impossible settings of its embedding model") from None
    return found


def embedding_of(
    path: Path, dimensions: int, progress: ByteProgress | None = None, cancel: Cancel | None = None
) -> Embedding:
    """The file at `path`, whose vectors have so many dimensions, hashed.

    Raises `ModelFileError` for a file that cannot be read or changes meanwhile, and `Cancelled`.
    """
    path = path.absolute()
    try:
        before = _state(path)
        sha256 = _hashed(path, before[0], progress, cancel)
        if _state(path) != before:
            raise ModelFileError(path, "it changed while it was read; try again once it is whole")
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"it cannot be read ({reason(error)}); check the path") from None
    return Embedding(path, *before, sha256, dimensions)


def check_embedding(model: Embedding, index: Path, cancel: Cancel | None = None) -> None:
    """Raise `DocumentError` where the model of the index at `index` is not there or not the same.

    A file of the same size and modification time is the same, another is hashed.
    """
    try:
        size, mtime_ns = _state(model.path)
        is_same = size == model.size and (
            mtime_ns == model.mtime_ns or _hashed(model.path, size, None, cancel) == model.sha256
        )
        what = None if is_same else "is another file now"
    except (OSError, ValueError) as error:
        what = f"cannot be read ({reason(error)})"
    if what:
        raise DocumentError(
            f"{index}: its embedding model {model.path} {what}; put the file back, or name it or "
            "another one: edgeproxy index -o NAME --embed FILE, or go without: edgeproxy index "
            "-o NAME --no-embed"
        )


class QuestionEmbedder:
    """Makes vectors of questions for the index at `index`; the model is loaded for the first one.

    Threads take turns. Raises `DocumentError` where the model's file is not there or is another.
    Close it at the end.
    """

    def __init__(
        self, index: Path, model: Embedding, opener: Opener, cancel: Cancel | None = None
    ) -> None:
        self._index = index
        self._model = model
        self._opener = opener
        self._cancel = cancel or Flag()
        self._lock = threading.Lock()
        self._embeds: Embeds | None = None
        check_embedding(model, index, cancel)

    def __call__(self, text: str) -> NDArray[Any]:
        """The vector of a question, of shape (dimensions,)."""
        with self._lock:
            if self._embeds is None:
                check_embedding(self._model, self._index, self._cancel)
                self._embeds = self._opener(self._model.path, longest=_LONGEST, cancel=self._cancel)
            vector: NDArray[Any] = self._embeds.embed([self._model.question + text])[0]
            return vector

    def close(self) -> None:
        """Give the memory back. A second call does nothing."""
        with self._lock:
            embeds, self._embeds = self._embeds, None
            if embeds is not None:
                embeds.close()


def question_embedder(
    index: Index, opener: Opener, cancel: Cancel | None = None
) -> QuestionEmbedder | None:
    """What makes vectors of questions for `index`; None where it has no embedding model.

    Raises `DocumentError` as `check_embedding`.
    """
    with telling(index.path):
        model = read_embedding(index.connection, index.path)
    return None if model is None else QuestionEmbedder(index.path, model, opener, cancel)


def _hashed(path: Path, size: int, progress: ByteProgress | None, cancel: Cancel | None) -> str:
    def heard(done: int) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled(f"{path}: reading it was cancelled")
        if progress:
            progress(f"hashing {path.name}", done, size)

    return hash_file(path, heard)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
