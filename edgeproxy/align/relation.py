"""How another vocabulary is related to the base's, decided from token bytes and kinds alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.vocab import Kind, Vocab

Case = Literal["same", "padded", "permuted", "different"]
Index = NDArray[np.int32]

_FEW = 1000
"""One token in so many may be without a counterpart, and the case is still "permuted"."""


@dataclass(frozen=True)
class Match:
    """A vocabulary's relation to the base's.

    - "same": every id has the same bytes and role. Nothing has to be done.
    - "padded": the same up to the shorter one, and the rest is no ordinary text. A slice.
    - "permuted": the same byte strings under other ids, bar a few. A gather.
    - "different": anything else. What a model says must be projected through bytes.

    `shared` counts the base's tokens with a counterpart: any, or of text where the case is
    "different". `silent` are the base's text tokens that the other vocabulary cannot spell with any
    number of tokens. `index` holds each base token's counterpart, or -1; shape (n_base,).
    """

    case: Case
    shared: int
    silent: tuple[int, ...] = field(default=(), repr=False)
    index: Index = field(default_factory=lambda: np.empty(0, np.int32), compare=False, repr=False)

    @property
    def unspelled(self) -> int:
        """How many of the base's text tokens the other vocabulary cannot spell."""
        return len(self.silent)


def match(base: Vocab, other: Vocab) -> Match:
    """Relate two vocabularies. Metadata and sizes have no say in it."""
    shared = min(len(base), len(other))
    if _begin_alike(base, other, shared) and not _has_text(base, other, shared):
        index = np.full(len(base), -1, np.int32)
        index[:shared] = np.arange(shared)
        return Match("same" if len(base) == len(other) else "padded", shared, index=index)
    few = max(len(base), len(other)) // _FEW
    # A token of unknown bytes has no counterpart; to count these is the quickest way to be sure.
    words = set(other.tokens)
    lacking = (text for text in base.texts if text and text not in words)
    if next(islice(lacking, few, None), None) is None:
        index = _counterparts(base, other)
        n_lacking = int((_is_text(base) & (index < 0)).sum())
        unmet = _is_text(other)
        unmet[index[index >= 0]] = False
        if max(n_lacking, int(unmet.sum())) <= few:
            silent = unspelled(base, other) if n_lacking else ()
            return Match("permuted", int((index >= 0).sum()), tuple(silent), index)
    known = set(other.texts)
    known.discard(b"")
    shared = sum(map(known.__contains__, base.texts))
    return Match("different", shared, tuple(unspelled(base, other)))


def match_pair(base: Vocab, expert: Vocab, anti_expert: Vocab) -> tuple[Match, Match]:
    """`match` of both models of a pair, done once where it must be the same for both."""
    found = match(base, expert)
    is_alike = all(
        getattr(expert, name) == getattr(anti_expert, name) for name in ("tokens", "kinds", "texts")
    )
    return found, found if is_alike else match(base, anti_expert)


def _begin_alike(base: Vocab, other: Vocab, shared: int) -> bool:
    if base.tokens[:shared] != other.tokens[:shared]:
        return False
    if base.kinds[:shared] == other.kinds[:shared]:
        return True
    kinds = zip(base.kinds[:shared], other.kinds[:shared], strict=True)
    return all(a == b or _role(a) == _role(b) for a, b in kinds)


def _has_text(base: Vocab, other: Vocab, shared: int) -> bool:
    """Whether the longer one has ordinary text from the id `shared` on."""
    longer = base if len(base) > shared else other
    return any(kind in (Kind.NORMAL, Kind.BYTE) for kind in longer.kinds[shared:])


def _role(kind: int) -> int:
    """A kind as far as steering is concerned: text, byte, special, or nothing at all."""
    return Kind.CONTROL if kind in (Kind.CONTROL, Kind.USER_DEFINED, Kind.UNKNOWN) else kind


def _is_text(vocab: Vocab) -> NDArray[np.bool_]:
    """Whether each token is text; shape (n_vocab,)."""
    return np.fromiter(map(bool, vocab.texts), bool, len(vocab))


def _counterparts(base: Vocab, other: Vocab) -> Index:
    """For each base token the other's token of the same bytes and role, in order; or -1."""
    places: defaultdict[tuple[bytes, int], list[int]] = defaultdict(list)
    role = {kind: _role(kind) for kind in set(base.kinds) | set(other.kinds)}
    for token in reversed(range(len(other))):
        if (kind := other.kinds[token]) != Kind.UNUSED:
            places[other.tokens[token], role[kind]].append(token)
    found = np.full(len(base), -1, np.int32)
    for token, (word, kind) in enumerate(zip(base.tokens, base.kinds, strict=True)):
        if kind != Kind.UNUSED and (left := places.get((word, role[kind]))):
            found[token] = left.pop()
    return found


def unspelled(base: Vocab, other: Vocab) -> list[int]:
    """The base's text tokens whose bytes are no concatenation of the other's text tokens."""
    known = set(other.texts)
    alphabet = b"".join(text for text in known if len(text) == 1)
    if len(alphabet) == 256:
        return []
    known.discard(b"")
    longest = max(map(len, known), default=0)

    def is_spelled(word: bytes) -> bool:
        ends = [True]
        for end in range(1, len(word) + 1):
            starts = range(max(0, end - longest), end)
            ends.append(any(ends[start] and word[start:end] in known for start in starts))
        return ends[-1]

    word_ends = np.cumsum(np.fromiter(map(len, base.texts), np.int64, len(base)))
    is_odd = ~np.isin(np.arange(256), np.frombuffer(alphabet, np.uint8))
    places = np.flatnonzero(is_odd[np.frombuffer(b"".join(base.texts), np.uint8)])
    with_odd = sorted(set(np.searchsorted(word_ends, places, side="right").tolist()))
    words = ((token, base.texts[token]) for token in with_odd)
    return [token for token, word in words if word not in known and not is_spelled(word)]
