"""Small indexes of documents for tests of finding: the tables filled by hand, one passage a row."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edgeproxy.documents.schema import APPLICATION_ID, TABLES, VERSION
from edgeproxy.documents.words import spaced

COMMON_SHARE = 0.01
"""A word in more than this share of the passages counts as common."""


_opened: list[sqlite3.Connection] = []


def close_all() -> None:
    """Close each index that was made since; Python 3.13 warns of one that is left open."""
    while _opened:
        _opened.pop().close()


class Row(NamedTuple):
    text: str
    trail: tuple[str, ...] = ()
    path: str = "notes.txt"
    place: str = ""


def filled(rows: Iterable[Row | str], at: str | Path = ":memory:") -> sqlite3.Connection:
    """An index of `rows`; those of one path are numbered in their order."""
    index = sqlite3.connect(at)
    _opened.append(index)
    index.executescript(TABLES)
    index.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    index.execute(f"PRAGMA user_version = {VERSION}")
    documents: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for row in rows:
        text, trail, path, place = Row(row) if isinstance(row, str) else row
        if path not in documents:
            found = index.execute(
                "INSERT INTO documents(path, size, mtime_ns, sha256, kind, encoding)"
                " VALUES (?, 0, 0, x'', 'text', 'utf-8')",
                (os.fsencode(path),),
            )
            documents[path] = found.lastrowid or 0
        number = numbers[path] = numbers.get(path, -1) + 1
        id_ = index.execute(
            "INSERT INTO passages(document, number, trail, place, text) VALUES (?, ?, ?, ?, ?)",
            (documents[path], number, json.dumps(trail, ensure_ascii=False), place, text),
        ).lastrowid
        index.execute(
            "INSERT INTO words(rowid, trail, text) VALUES (?, ?, ?)",
            (id_, spaced(" ".join(trail)), spaced(text)),
        )
    count_common(index)
    index.commit()
    return index


def count_common(index: sqlite3.Connection) -> None:
    """Fill the table of common words anew."""
    (total,) = index.execute("SELECT count(*) FROM passages").fetchone()
    index.execute("DELETE FROM common")
    index.execute(
        "INSERT INTO common SELECT term, doc FROM vocabulary WHERE doc > ?",
        (max(COMMON_SHARE * total, 20),),
    )
