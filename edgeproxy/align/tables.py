"""Which own tokens say that the base's next token is this one: what a projection sums.

Text that begins with an own token begins with one base token, the first that the base's tokenizer
makes of it: there the own token's probability goes. A base token that is longer than that begins
with an own token of which more must come; until that has been evaluated, its probability is the
first one's, an upper bound.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align.spelling import Spelling
from edgeproxy.core.vocab import Vocab

Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Cover:
    """Base tokens, and for each the own tokens whose probabilities are summed.

    `base`: ids, shape (n,). `own`: own ids, those of base token i from `starts[i]` on. They are the
    own tokens whose text the base begins with it, and, where none has the same bytes, those that it
    begins with: the longest one, and the first one that the model's tokenizer makes of it.
    """

    base: NDArray[np.signedinteger]
    starts: NDArray[np.intp]
    own: NDArray[np.signedinteger]

    def masses(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum for each of `base`; `probabilities` has one for each own token."""
        if not len(self.base):
            return np.empty(0, np.float32)
        return np.asarray(np.add.reduceat(probabilities[self.own], self.starts))


@dataclass(frozen=True, eq=False)
class Arrays:
    """What is worth keeping on disk: see `Tables`.

    - `own_order`: ids of the model's text tokens, sorted by their bytes.
    - `one`: for each base token the own token that alone speaks for it, or `n_own` where none does.
    - `exact`: whether an own token has the same bytes; shape (n_base,).
    - `many_*`: the `Cover` of the base tokens for which several own tokens speak.
    """

    own_order: Ids
    one: Ids
    exact: NDArray[np.bool_]
    many_base: Ids
    many_starts: NDArray[np.intp]
    many_own: Ids


class Tables:
    """The alignment of two vocabularies whose tokens differ, from the arrays of `build`."""

    def __init__(self, base: Vocab, own: Vocab, arrays: Arrays) -> None:
        self.arrays = arrays
        self.texts = own.texts
        self._own = _texts(own, arrays.own_order)
        self._spell = Spelling(base)
        # NumPy turns other integers into these at every use.
        self.one = arrays.one.astype(np.intp)
        self.many = Cover(
            arrays.many_base.astype(np.intp), arrays.many_starts, arrays.many_own.astype(np.intp)
        )
        # Of a copy, as in `Spelling`.
        self.next_base = lru_cache(maxsize=1 << 16)(copy(self)._next_base)

    def beginning_with(self, prefix: bytes, *, beyond: bool = False) -> Ids:
        """The own tokens whose bytes begin with `prefix`, or go `beyond` it as well."""
        low, high = _range(self._own, prefix)
        if beyond:
            low = bisect_right(self._own, prefix, low, high)
        return self.arrays.own_order[low:high]

    def _next_base(self, text: bytes, at: int) -> tuple[int, bool]:
        """The base token that begins at the byte `at` of `text`, where the base cuts it there.

        Where it does not, the one that the rest would begin with, and False. -1 for no token.
        """
        found = self._spell.token_at(text, at)
        return (found, True) if found is not None else (self._spell.first(text[at:]), False)


class _Part(NamedTuple):
    """Text, the own token that says it, and the base token that it begins with, or -1."""

    text: bytes
    own: int
    base: int


def build(base: Vocab, own: Vocab) -> Arrays:
    """The arrays of `Tables` for a model with the vocabulary `own` under `base`.

    Either tokenizer is asked about every token that the other vocabulary does not have.
    """
    base_order, own_order = _sorted(base), _sorted(own)
    words = _texts(base, base_order)
    spell, spell_own = Spelling(base), Spelling(own)
    known = dict(zip(words, base_order.tolist(), strict=True))
    parts = []
    for text, token in zip(_texts(own, own_order), own_order.tolist(), strict=True):
        first = known.get(text)
        if first is None:
            first = spell.first(text)
        parts.append(_Part(text, token, first))
    owned = {part.text for part in parts}
    firsts = [
        (token, begin)
        for word, token in zip(words, base_order.tolist(), strict=True)
        if word not in owned and (begin := spell_own.first(word)) >= 0
    ]
    cover, exact = _cover(words, base_order, parts, firsts)
    counts = np.diff(np.append(cover.starts, len(cover.own)))
    single = counts == 1
    one = np.full(len(base), len(own), np.int32)
    one[cover.base[single]] = cover.own[cover.starts[single]]
    is_exact = np.zeros(len(base), bool)
    is_exact[exact] = True
    return Arrays(
        own_order=own_order,
        one=one,
        exact=is_exact,
        many_base=cover.base[~single],
        many_starts=(np.cumsum(counts[~single]) - counts[~single]).astype(np.intp),
        many_own=cover.own[np.repeat(~single, counts)],
    )


def _sorted(vocab: Vocab) -> Ids:
    texts = vocab.texts
    ids = [token for token, text in enumerate(texts) if text]
    return np.array(sorted(ids, key=texts.__getitem__), np.int32)


def _texts(vocab: Vocab, order: Ids) -> list[bytes]:
    return [vocab.texts[token] for token in order.tolist()]


def _range(words: Sequence[bytes], prefix: bytes) -> tuple[int, int]:
    """Where in sorted `words` those that begin with `prefix` are."""
    low = bisect_left(words, prefix)
    last = prefix.rstrip(b"\xff")
    if not last:
        return low, len(words)
    return low, bisect_left(words, last[:-1] + bytes([last[-1] + 1]), low)


def _cover(
    base: Sequence[bytes],
    base_order: Ids,
    parts: Sequence[_Part],
    firsts: Sequence[tuple[int, int]] = (),
) -> tuple[Cover, Ids]:
    """The cover of the base tokens (sorted: `base`) by `parts`; the base tokens met exactly.

    `firsts` are further (base token, own token).
    """
    if not parts:
        return Cover(_NONE, np.empty(0, np.intp), _NONE), _NONE
    spans = []
    for part in sorted(parts, key=lambda part: len(part.text)):
        low, high = _range(base, part.text)
        spans.append((low, bisect_right(base, part.text, low, high), high, part.own))
    first, last = min(span[1] for span in spans), max(span[2] for span in spans)
    longest = np.full(last - first, -1, np.int32)
    # In order of length, so that the longest one is the last to be written.
    for _, beyond, high, own in spans:
        longest[beyond - first : high - first] = own
    for low, beyond, _, _ in spans:
        longest[max(low - first, 0) : beyond - first] = -1
    extended = np.flatnonzero(longest >= 0)
    exact = [place for low, beyond, _, _ in spans for place in range(low, beyond)]
    pairs = [*((part.base, part.own) for part in parts if part.base >= 0), *firsts]
    said = np.array(pairs, np.int64).reshape(-1, 2)
    beginning = np.stack([base_order[first + extended], longest[extended]], axis=1)
    # Sorted by base token, each pair once.
    pair = np.unique(np.concatenate([said, beginning]) @ np.array([1 << 32, 1]))
    tokens, sources = (pair >> 32).astype(np.int32), (pair & 0xFFFFFFFF).astype(np.int32)
    starts = np.flatnonzero(np.diff(tokens, prepend=-1))
    return Cover(tokens[starts], starts, sources), base_order[np.array(exact, np.intp)]


_NONE = np.empty(0, np.int32)
