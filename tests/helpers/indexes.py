"""Folders of documents and indexes of them, for tests.

    python -m tests.helpers.indexes INDEX FOLDER

indexes a folder, with a transaction for every few documents, and says "ready" before that.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

from edgeproxy.documents import indexing
from edgeproxy.documents.database import close_written, open_to_write
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import Report, index_documents

OLD = 1_600_000_000_000_000_000
"""A modification time that is long ago, in nanoseconds."""


def write(path: Path, text: str, mtime_ns: int = OLD) -> Path:
    """Write a document that counts as unchanged from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def make_index(path: Path, root: Path) -> Report:
    """Index `root`."""
    return index_documents(path, [root])


def matching(path: Path, word: str) -> list[str]:
    """The texts of the passages in which `word` stands, by the index's words."""
    with Index(path) as index, index.telling():
        rows = index.connection.execute("SELECT rowid FROM words WHERE words MATCH ?", [word])
        found = index.passages(number for (number,) in rows.fetchall())
    return sorted(passage.text for passage in found)


def check(path: Path) -> None:
    """Raise unless the index at `path` is sound, its words being exactly those of its passages."""
    with Index(path) as index:
        index.check()
        texts = {p.id: p for d in index.documents() for p in index.passages_of(d.path)}
        assert len(texts) == index.passage_count()
    connection = open_to_write(path)
    try:
        connection.execute("INSERT INTO words(words) VALUES('integrity-check')")
        # Words of what is gone would stay in the vocabulary.
        left = connection.execute("SELECT count(*) FROM vocabulary").fetchone()[0]
        assert bool(left) == bool(texts)
    finally:
        close_written(connection)


def rows(path: Path, asked: str) -> list[tuple[object, ...]]:
    """What SQLite answers about the file at `path`."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(asked).fetchall()
    finally:
        connection.close()


if __name__ == "__main__":
    indexing.TRANSACTION = 0.01
    print("ready", flush=True)
    make_index(Path(sys.argv[1]), Path(sys.argv[2]))
    print("done", flush=True)
