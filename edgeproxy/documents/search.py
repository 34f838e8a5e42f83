"""The passages of an index that answer a question.

May touch: an index, read only, through the connection that it is given.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.candidates import candidates
from edgeproxy.documents.fusing import Embed, by_vectors, by_words, fused, nearest
from edgeproxy.documents.index import PASSAGES, in_order, read_trail
from edgeproxy.documents.joining import joined, paragraph, record
from edgeproxy.documents.languages import check_language
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.query import MOST_CHARACTERS, SAYING, Asked, Query, query
from edgeproxy.documents.ranking import ranked
from edgeproxy.documents.terms import Terms
from edgeproxy.documents.vocabulary import Vocabulary
from edgeproxy.errors import Cancelled, DocumentError, UsageError

Count = Callable[[str], int]
"""Of a text its tokens, as a model counts them."""

MOST = 100
"""So many passages can be asked for."""

_AROUND = 8
"""Passages before and behind a hit that may be joined to it."""

_ALSO = 0.7
"""A passage beside a hit has hit as well with so much of its score."""

_HALF = 0.5

_SHORT = 6
"""A question of fewer words may need those before it to say what it is about."""

_LONG = 120
"""The same text of so many characters is the same passage, whatever its trail."""


@dataclass(frozen=True)
class Found:
    """A passage, how well it fits, and which of the index's words it was found by.

    A `score` compares with those of the same question only.
    """

    passage: Passage
    score: float
    words: tuple[str, ...]


class Finder:
    """Finds passages in the index behind a connection, which stays the caller's.

    A finder reads once how many passages there are and which language they are in: after the index
    has changed, make another one. With `embed`, a text's vector of length 1, what an embedding
    model finds near counts besides, for passages that have vectors. Threads take turns.
    """

    def __init__(self, index: sqlite3.Connection, embed: Embed | None = None) -> None:
        self._index = index
        self._embed = embed
        self._terms = Terms()
        with _readable():
            self._vocabulary = Vocabulary(index)

    def find(
        self,
        question: str | Asked,
        *,
        count: int = 3,
        budget: int | None = None,
        tokens: Count | None = None,
        language: str | None = None,
        cancel: Cancel | None = None,
    ) -> list[Found]:
        """At most `count` passages for a question, the best one first; none where nothing is found.

        With `budget` they have at most so many tokens together, trails included, as `tokens`
        counts them (else about four bytes are one). What does not fit is left out, and if not even
        the best one fits, it is cut. `language` (ISO 639-1, or Snowball's name) says how words are
        inflected; None finds it out. Raises `UsageError` for impossible arguments, `Cancelled`,
        `DocumentError` for an index that cannot be read.
        """
        if not 1 <= count <= MOST:
            raise UsageError(f"the number of passages to find is 1 to {MOST}, not {count}")
        if budget is not None and budget < 1:
            raise UsageError(f"the tokens that passages may take are 1 or more, not {budget}")
        known = check_language(language) if language is not None else None
        asked = Asked(question) if isinstance(question, str) else question
        with _readable():
            looked_for = query(asked, self._vocabulary, self._terms, known)
            near = self._near(asked, cancel)
            of_words, ranking = self._ranked(looked_for, near)
            results = self._joined(ranking, of_words, looked_for)
            found = []
            for result in results:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("finding passages was stopped")
                found.append(result)
                if budget is None and len(found) == count:
                    break
                if len(found) >= 3 * count:
                    break
        if budget is None:
            return found
        return _within(found, count, budget, tokens or _about)

    def _near(self, asked: Asked, cancel: Cancel | None) -> list[int]:
        """The passages that an embedding model finds near; none without a model or a question."""
        text = _embedded(asked)
        if self._embed is None or not text:
            return []
        return nearest(self._index, self._embed(text), cancel)

    def _ranked(self, looked_for: Query, near: Sequence[int]) -> tuple[list[Found], list[Found]]:
        """Passages by the scores of words alone, and by both rankings."""
        numbers = candidates(self._index, looked_for, self._vocabulary.total)
        # What is near is scored by words besides, or it would seem to have none.
        passages = in_order(dict.fromkeys([*numbers, *near]), self._rows)
        results = ranked(
            looked_for,
            [passage.trail for passage in passages],
            [passage.text for passage in passages],
            self._terms,
            self._vocabulary.worth,
        )
        found = [Found(passages[one.number], one.score, one.words) for one in results]
        if not near:
            return found, found
        by_id = {passage.id: Found(passage, 0.0, ()) for passage in passages}
        by_id |= {one.passage.id: one for one in found}
        words = by_words([(one.passage.id, one.score) for one in found])
        scores = fused([words, by_vectors(near)])
        both = [replace(by_id[number], score=score) for number, score in scores if number in by_id]
        return found, both

    def _joined(
        self, found: Sequence[Found], of_words: Sequence[Found], looked_for: Query
    ) -> Iterator[Found]:
        """Each passage with what belongs to it, none twice.

        What is beside a passage has hit as well by the scores of words: those of two rankings
        joined lie too close together to tell.
        """
        scores = {one.passage.id: one.score for one in of_words}
        used: set[int] = set()
        seen: set[str] = set()
        saying = _saying(looked_for, self._vocabulary.total)
        for one in found:
            hit = one.passage
            if hit.id in used or _key(hit) in seen:
                continue
            around = [other for other in self._around(hit) if other.id not in used]
            least = _ALSO * scores.get(hit.id, math.inf)
            enough = {number for number, score in scores.items() if score >= least}
            together = paragraph(hit, around, enough.__contains__)
            if len(together) == 1:
                names = [part for other in around for part in other.trail[-2:]]
                named = self._named(names, saying)
                together = record(hit, around, named.__contains__)
            used |= {passage.id for passage in together}
            seen |= {_key(passage) for passage in together}
            yield replace(one, passage=joined(hit, together))

    def _named(self, names: Sequence[str], saying: set[str]) -> set[str]:
        """Which parts of trails have a word of the question's that says something."""
        each = list(dict.fromkeys(names))
        cut = self._terms.of(each)
        return {name for name, terms in zip(each, cut, strict=True) if saying & set(terms)}

    def _around(self, hit: Passage) -> list[Passage]:
        return list(
            self._rows(
                "document = (SELECT document FROM passages WHERE id = ?)"
                " AND number BETWEEN ? AND ? ORDER BY number",
                (hit.id, hit.number - _AROUND, hit.number + _AROUND),
            )
        )

    def _rows(self, where: str, values: Sequence[int]) -> Iterator[Passage]:
        yield from map(_passage, self._index.execute(f"{PASSAGES} WHERE {where}", values))

    def close(self) -> None:
        """Free what the finder itself holds; the connection stays open."""
        self._terms.close()

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _passage(row: tuple[Any, ...]) -> Passage:
    """Raises `ValueError` for what no index has written."""
    number, path, place_in_document, trail, place, text = row
    if not (isinstance(path, bytes) and all(isinstance(one, str) for one in (trail, place, text))):
        raise ValueError("a passage is no text")
    where = Path(os.fsdecode(path))
    return Passage(number, where, place_in_document, read_trail(trail), place, text)


def _saying(looked_for: Query, total: int) -> set[str]:
    """Words that say something: rare ones, and in a small index those that count half the most."""
    most = max((group.weight for group in looked_for.groups), default=0.0)
    return {
        form[0]
        for group in looked_for.groups
        if group.weight >= min(math.log(1 + 1 / SAYING), _HALF * most)
        for form in group.forms
    }


def _embedded(asked: Asked) -> str:
    """What of a question an embedding model reads: a short one behind those before it."""
    text = asked.text.strip()
    if text and len(text.split()) < _SHORT and asked.earlier:
        return f"{asked.earlier}\n{text}"[-MOST_CHARACTERS:]
    return text[:MOST_CHARACTERS]


def _key(passage: Passage) -> str:
    """What two passages have in common that are the same to a reader."""
    text = " ".join(passage.text.split())
    return text if len(text) >= _LONG else f"{passage.full_text[: -len(passage.text)]}{text}"


def _about(text: str) -> int:
    """A text's tokens where no model was asked: about four bytes are one."""
    return len(text.encode(errors="replace")) // 4 + 1


def _within(found: Sequence[Found], count: int, budget: int, tokens: Count) -> list[Found]:
    """The best of them that fit together; the best one cut where none fits."""
    kept: list[Found] = []
    left = budget
    for one in found:
        size = tokens(one.passage.full_text)
        if size <= left and len(kept) < count:
            kept.append(one)
            left -= size
    if kept or not found:
        return kept
    return [one for one in [_cut(found[0], budget, tokens)] if one]


def _cut(one: Found, budget: int, tokens: Count) -> Found | None:
    """As much of a passage's beginning as fits; its trail goes first."""
    for trail in (one.passage.trail, ()):
        low, high = 0, len(one.passage.text)
        while low < high:
            middle = (low + high + 1) // 2
            part = replace(one.passage, trail=trail, text=one.passage.text[:middle])
            if tokens(part.full_text) <= budget:
                low = middle
            else:
                high = middle - 1
        text = one.passage.text[:low]
        if low < len(one.passage.text) and " " in text:
            text = text[: text.rindex(" ")]
        if text.strip():
            return replace(one, passage=replace(one.passage, trail=trail, text=text))
    return None


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """What SQLite says of an index as an error for a person."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise DocumentError(
            f"the index of documents cannot be read ({error}); index the documents anew"
        ) from None
