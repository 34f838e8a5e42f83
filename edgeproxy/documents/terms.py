"""Texts -> terms, cut and folded by the very tokenizer that an index's words went through.

A small FTS5 table in memory, declared as the index's own is, does the cutting.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

from edgeproxy.documents.schema import TABLES
from edgeproxy.documents.words import spaced

_DECLARED = re.search(r"tokenize=(\"[^\"]+\")", TABLES)
if _DECLARED is None:
    raise ValueError("the table of words has no tokenizer")
_TOKENIZE = _DECLARED[1]

# SQLite's text is UTF-8, which has no lone surrogates, and a zero ends it in places.
_IMPOSSIBLE = re.compile("[\x00\ud800-\udfff]")


def possible(text: str) -> str:
    """`text` with U+FFFD for each character that no UTF-8 text of SQLite's has."""
    return _IMPOSSIBLE.sub("\ufffd", text)


class Terms:
    """Cuts texts; not for several threads at once."""

    def __init__(self) -> None:
        # Threads may take turns; whoever uses one index from several has a lock around it.
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._memory.executescript(
            "CREATE VIRTUAL TABLE texts USING fts5("
            f"text, content='', columnsize=0, tokenize={_TOKENIZE});"
            "CREATE VIRTUAL TABLE places USING fts5vocab(texts, instance);"
        )

    def of(self, texts: Sequence[str]) -> list[list[str]]:
        """The terms of each text, in their order."""
        self._fill(texts)
        found: list[dict[int, str]] = [{} for _ in texts]
        for term, text, place in self._memory.execute("SELECT term, doc, offset FROM places"):
            found[text][place] = term
        return [[term for _, term in sorted(places.items())] for places in found]

    def places(
        self, texts: Sequence[str], wanted: Iterable[str]
    ) -> dict[str, dict[int, list[int]]]:
        """Where the terms `wanted` stand: term -> number of a text -> places, counted in terms."""
        self._fill(texts)
        found: dict[str, dict[int, list[int]]] = {}
        for term in wanted:
            rows = self._memory.execute("SELECT doc, offset FROM places WHERE term = ?", (term,))
            for text, place in rows:
                found.setdefault(term, {}).setdefault(text, []).append(place)
        return found

    def close(self) -> None:
        """Free what it holds."""
        self._memory.close()

    def _fill(self, texts: Sequence[str]) -> None:
        with self._memory:
            self._memory.execute("BEGIN")
            self._memory.execute("INSERT INTO texts(texts) VALUES ('delete-all')")
            self._memory.executemany(
                "INSERT INTO texts(rowid, text) VALUES (?, ?)",
                ((number, spaced(possible(text))) for number, text in enumerate(texts)),
            )
