"""The vectors of an index's passages, made by an embedding model.

Only passages without a vector get one, and vectors are kept a few at a time: after an interrupt or
a kill the next run goes on where that one ended.

May touch: the index and what is beside it; the model's file, read only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.documents.database import damaged, held_to_write, telling
from edgeproxy.documents.embedding import (
    SETTING,
    Embedding,
    Embeds,
    Opener,
    check_embedding,
    embedding_of,
    read_embedding,
)
from edgeproxy.documents.index import Index, read_sizing, read_trail
from edgeproxy.documents.indexing import TRANSACTION
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.writing import Writer
from edgeproxy.errors import Cancelled, DocumentError, EdgeproxyError
from edgeproxy.files import ByteProgress

AT_ONCE = 48
"""So many passages are embedded between two looks at the clock."""

_LEAST = 512
_PER_SIZE = 2
"""Of a passage so many tokens are read for each that it was sized in: models count differently."""

_WITHOUT = "id NOT IN (SELECT passage FROM vectors)"


@dataclass(frozen=True)
class Made:
    """How many vectors were made, and of how many passages only the beginning was read."""

    vectors: int = 0
    cut: int = 0


def choose_model(
    path: Path,
    file: Path,
    opener: Opener,
    *,
    question: str | None = None,
    passage: str | None = None,
    warn: Callable[[str], None] = lambda what: None,
    progress: ByteProgress | None = None,
    cancel: Cancel | None = None,
) -> Embedding:
    """The embedding model in `file` for the index at `path`, tried out; nothing is written yet.

    What is put before questions and before passages stays as it was where it is None, if the index
    has this model already. `warn` is told where the file is of a model that writes: with such a one
    less is found than by words alone. Raises `ModelFileError` and whatever `opener` raises.
    """
    embeds = opener(file, longest=_LEAST, cancel=cancel)
    try:
        embeds.embed(["a"])
        if not embeds.is_made_for_it:
            warn(
                f"{file.name} was not made to embed texts, and passages may be found worse with it "
                "than by words alone; use an embedding model"
            )
        chosen = embedding_of(file, embeds.dimensions, progress, cancel)
    finally:
        embeds.close()
    before = model_of(path)
    if before is not None and before.sha256 == chosen.sha256:
        chosen = replace(chosen, question=before.question, passage=before.passage)
    return replace(
        chosen,
        question=chosen.question if question is None else question,
        passage=chosen.passage if passage is None else passage,
    )


def model_of(path: Path) -> Embedding | None:
    """The embedding model of the index at `path`; None without one, or without an index."""
    try:
        if not path.stat().st_size:
            return None
    except (OSError, ValueError):
        return None
    with Index(path) as index, telling(path):
        return read_embedding(index.connection, path)


def make_vectors(
    path: Path,
    model: Embedding,
    opener: Opener,
    *,
    progress: ByteProgress | None = None,
    cancel: Cancel | None = None,
) -> Made:
    """Give each passage of the index at `path` that has none a vector by `model`.

    Where the index's vectors are of another model they all go first. `progress` counts characters.
    Setting `cancel` ends it with `Cancelled`; what was made is kept. Raises `DocumentError`, and
    what `opener` and the model raise.
    """
    cancel = cancel or Flag()
    with _writing(path) as writer:
        connection = writer.connection
        before = read_embedding(connection, path)
        if before != model:
            writer.begin()
            if before is None or not before.makes_the_same(model):
                connection.execute("DELETE FROM vectors")
            writer.set(SETTING, model.written)
            writer.commit()
        one = f"SELECT count(*), ifnull(sum(length(text)), 0) FROM passages WHERE {_WITHOUT}"
        [(missing, size)] = connection.execute(one).fetchall()
        if not missing:
            return Made()
        check_embedding(model, path, cancel)
        longest = max(_LEAST, _PER_SIZE * read_sizing(connection, path).size)
        embeds = opener(model.path, longest=longest, cancel=cancel)
        try:
            return _Run(path, writer, model, embeds, progress, cancel).work(size)
        finally:
            embeds.close()


def remove_vectors(path: Path) -> int:
    """Forget the embedding model of the index at `path`, and its vectors; how many there were.

    Raises `DocumentError`.
    """
    with _writing(path) as writer:
        [count] = writer.connection.execute("SELECT count(*) FROM vectors").fetchone()
        writer.begin()
        writer.connection.execute("DELETE FROM vectors")
        writer.connection.execute("DELETE FROM settings WHERE name = ?", [SETTING])
        writer.commit()
        return int(count)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Writer]:
    """A writer of the index at `path`; what was done is kept, also where this is left early."""
    with held_to_write(path) as connection:
        writer = Writer(connection)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(sqlite3.DatabaseError):
                writer.commit()
            raise


class _Run:
    """Makes vectors, with the index's lock held."""

    def __init__(
        self,
        path: Path,
        writer: Writer,
        model: Embedding,
        embeds: Embeds,
        progress: ByteProgress | None,
        cancel: Cancel,
    ) -> None:
        self._path = path
        self._writer = writer
        self._model = model
        self._embeds = embeds
        self._progress = progress
        self._cancel = cancel

    def work(self, size: int) -> Made:
        """Make all that are missing, of passages of `size` characters."""
        if self._embeds.dimensions != self._model.dimensions:
            raise DocumentError(
                f"{self._path}: its embedding model {self._model.path} makes vectors of "
                f"{self._embeds.dimensions} dimensions, not {self._model.dimensions}; make all "
                "of them anew: edgeproxy index -o NAME --no-embed, then --embed FILE"
            )
        made = done = 0
        began = time.monotonic()
        for some in self._missing():
            self._tell(done, size)
            texts = [self._model.passage + passage.full_text for passage in some]
            vectors = np.asarray(self._embeds.embed(texts))
            if vectors.shape != (len(some), self._model.dimensions):
                raise EdgeproxyError(f"{self._model.path}: it gave vectors of another shape")
            kept = vectors.astype("<f2")
            if not np.isfinite(kept).all():
                raise EdgeproxyError(
                    f"{self._model.path}: it gave numbers that are not finite; get the file again"
                )
            self._writer.begin()
            self._writer.connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES(?, ?)",
                [(one.id, row.tobytes()) for one, row in zip(some, kept, strict=True)],
            )
            made += len(some)
            done += sum(len(one.text) for one in some)
            if time.monotonic() - began > TRANSACTION:
                self._writer.commit()
                began = time.monotonic()
        self._writer.commit()
        self._tell(size, size)
        return Made(made, self._embeds.cut)

    def _missing(self) -> Iterator[list[Passage]]:
        last = -1
        asked = f"SELECT id, trail, text FROM passages WHERE id > ? AND {_WITHOUT}"
        asked += f" ORDER BY id LIMIT {AT_ONCE}"
        while rows := self._writer.connection.execute(asked, [last]).fetchall():
            yield [self._passage(*row) for row in rows]
            last = rows[-1][0]

    def _passage(self, number: int, trail: str, text: str) -> Passage:
        try:
            parts = read_trail(trail)
            if not isinstance(text, str):
                raise TypeError(text)
        except (ValueError, TypeError):
            raise damaged(self._path, "a passage is no text") from None
        return Passage(number, Path(), 0, parts, "", text)

    def _tell(self, done: int, size: int) -> None:
        if self._cancel.is_set():
            raise Cancelled("interrupted")
        if self._progress:
            self._progress("making vectors of passages", done, size)
