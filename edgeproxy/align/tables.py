"""Which own tokens say that the base's next token is this one: what a projection sums.

Text that begins with an own token begins with one base token, the first that the base's tokenizer
makes of it: there the own token's probability goes. A base token that is longer than that begins
with an own token of which more must come; until that has been evaluated, its probability is the
first one's, an upper bound.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align.firsts import Step, firsts
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import Cancelled

Ids = NDArray[np.int32]

Progress = Callable[[float], None]
"""Called with the share of an alignment's work that is done, 0 to 1."""


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
        self._own = [own.texts[token] for token in arrays.own_order.tolist()]
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


def build(
    base: Vocab, own: Vocab, progress: Progress | None = None, cancel: Cancel | None = None
) -> Arrays:
    """The arrays of `Tables` for a model with the vocabulary `own` under `base`.

    Either tokenizer is asked about every token that the other vocabulary does not have. `progress`
    gets the share of that work that is done; `cancel` ends it with `Cancelled`.
    """
    own_order = _sorted(own)
    token_of_base, token_of_own = _by_text(base), _by_text(own)
    of_own = [own.texts[token] for token in own_order.tolist()]
    # A text that several tokens have is asked about for each of them.
    base_only = [n for n, text in enumerate(base.texts) if text and text not in token_of_own]
    own_only = [n for n, text in enumerate(of_own) if text not in token_of_base]
    step = _step(len(base_only) + len(own_only), progress, cancel)
    first_own = firsts(own, [base.texts[token] for token in base_only], step)
    first_base = np.array([token_of_base.get(text, -1) for text in of_own], np.int64)
    first_base[own_only] = firsts(base, [of_own[n] for n in own_only], step)
    longest = _longest_beginnings([base.texts[token] for token in base_only], token_of_own)
    cover = _cover(
        np.concatenate([first_base, base_only, base_only]),
        np.concatenate([own_order, first_own, longest]),
    )
    exact = np.fromiter((text in token_of_own for text in base.texts), bool, len(base))
    counts = np.diff(np.append(cover.starts, len(cover.own)))
    single = counts == 1
    one = np.full(len(base), len(own), np.int32)
    one[cover.base[single]] = cover.own[cover.starts[single]]
    return Arrays(
        own_order=own_order,
        one=one,
        exact=exact,
        many_base=cover.base[~single],
        many_starts=(np.cumsum(counts[~single]) - counts[~single]).astype(np.intp),
        many_own=cover.own[np.repeat(~single, counts)],
    )


def _step(total: int, progress: Progress | None, cancel: Cancel | None) -> Step:
    answered = 0

    def step(count: int) -> None:
        nonlocal answered
        answered += count
        if cancel is not None and cancel.is_set():
            raise Cancelled("aligning the vocabularies was cancelled")
        if progress is not None:
            progress(answered / total)

    return step


def _by_text(vocab: Vocab) -> dict[bytes, int]:
    """The token of each text; the last one where several have it."""
    return {text: token for token, text in enumerate(vocab.texts) if text}


def _sorted(vocab: Vocab) -> Ids:
    texts = vocab.texts
    ids = [token for token, text in enumerate(texts) if text]
    return np.array(sorted(ids, key=texts.__getitem__), np.int32)


def _range(words: Sequence[bytes], prefix: bytes) -> tuple[int, int]:
    """Where in sorted `words` those that begin with `prefix` are."""
    low = bisect_left(words, prefix)
    last = prefix.rstrip(b"\xff")
    if not last:
        return low, len(words)
    return low, bisect_left(words, last[:-1] + bytes([last[-1] + 1]), low)


def _longest_beginnings(words: Sequence[bytes], token_of: Mapping[bytes, int]) -> Ids:
    """For each word the longest token that it begins with, or -1; shape (len(words),)."""
    longest = max(map(len, token_of), default=0)

    def beginning(word: bytes) -> int:
        for end in range(min(len(word), longest), 0, -1):
            if (token := token_of.get(word[:end])) is not None:
                return token
        return -1

    return np.fromiter(map(beginning, words), np.int32, len(words))


def _cover(base: NDArray[np.signedinteger], own: NDArray[np.signedinteger]) -> Cover:
    """The cover of the pairs `base[i]`, `own[i]`, of which those with a -1 say nothing."""
    is_said = (base >= 0) & (own >= 0)
    # Sorted by base token, each pair once. Far quicker than `np.unique`.
    pair = np.sort(base[is_said].astype(np.int64) << 32 | own[is_said])
    pair = pair[np.diff(pair, prepend=-1) > 0]
    tokens, sources = (pair >> 32).astype(np.int32), (pair & 0xFFFFFFFF).astype(np.int32)
    starts = np.flatnonzero(np.diff(tokens, prepend=-1))
    return Cover(tokens[starts], starts, sources)
