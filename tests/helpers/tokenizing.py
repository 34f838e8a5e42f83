"""Small tokenizers of three families over vocabularies made up for a test."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from edgeproxy.core.vocab import Kind, Tokenize, Vocab

_WORDS = re.compile(rb" ?[^ ]+| +(?= )| +")


def bpe_vocab(*merged: str, reverse: bool = False) -> Vocab:
    """Byte-level BPE: all bytes, and `merged`, each the join of two tokens that come before it.

    `reverse` numbers the tokens the other way round.
    """
    tokens = [*(bytes([n]) for n in range(256)), *(word.encode() for word in merged)]
    ranks = {token: rank for rank, token in enumerate(tokens)}

    def split(word: bytes) -> list[bytes]:
        parts = [bytes([byte]) for byte in word]
        while len(parts) > 1:
            pairs = [a + b for a, b in pairwise(parts)]
            best = min(range(len(pairs)), key=lambda n: ranks.get(pairs[n], math.inf))
            if pairs[best] not in ranks:
                break
            parts[best : best + 2] = [pairs[best]]
        return parts

    return _vocab(tokens[::-1] if reverse else tokens, split, Kind.NORMAL)


def unigram_vocab(scores: Mapping[str, float], *, with_bytes: bool = True) -> Vocab:
    """Unigram: the most probable way to spell a word; bytes, if there are any, are a last resort.

    Without bytes a character that no token holds is the unknown token, which is no text.
    """
    worth = {word.encode(): score for word, score in scores.items()}
    if with_bytes:
        worth = {**{bytes([n]): -30.0 for n in range(256)}, **worth}

    def split(word: bytes) -> list[bytes]:
        best: list[tuple[float, list[bytes]]] = [(0.0, [])]
        for end in range(1, len(word) + 1):
            options = [
                (best[start][0] + worth[word[start:end]], [*best[start][1], word[start:end]])
                for start in range(end)
                if word[start:end] in worth
            ]
            options.append((best[end - 1][0] - 100.0, [*best[end - 1][1], b""]))
            best.append(max(options))
        return best[-1][1]

    return _vocab(list(worth), split, Kind.NORMAL)


def _vocab(tokens: Sequence[bytes], split: Callable[[bytes], list[bytes]], kind: Kind) -> Vocab:
    ids = {token: n for n, token in enumerate(tokens)}
    end, unknown = len(tokens), len(tokens) + 1

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        words = _WORDS.findall(text.encode())
        return [ids.get(part, unknown) for word in words for part in split(word)]

    checked: Tokenize = tokenize
    return Vocab(
        tokens=(*tokens, b"<end>", b"<unk>"),
        kinds=(*[kind] * len(tokens), Kind.CONTROL, Kind.UNKNOWN),
        end_of_generation=frozenset((end,)),
        tokenize=checked,
    )


LARGE = bpe_vocab(
    *("th", "the", " t", " th", " the", "in", "an", "er", "on", "re", " w", "wo", " wo", "wor"),
    *("ld", "world", "or", "he", "ll", "lo", "hell", "hello", " a", " an", "en", "ou", "is", " is"),
    *(" wor", " world", "there", " there", "ab", "abab", "é", "ö", "20", "2024"),
)
"""What a base may have in tests."""

SMALL = bpe_vocab(
    *("t ", "he", " t", " the", "wo", "ld", "wor", " w", "rl", "or", "re", "el", "lo", "hel"),
    *("is", " i", " is", "ba", "aba", " a", "nd", " and", "é", "02", "24"),
    reverse=True,
)
"""What a pair may have in tests: some of the same tokens, others cut otherwise."""

PIECES = unigram_vocab(
    {
        **{" the": -2.0, " th": -6.0, "e": -3.0, " w": -4.0, "orld": -5.0, "or": -5.0, "l": -5.0},
        **{"d": -5.0, " ": -6.0, "re": -4.0, "h": -6.0, "he": -5.0, "llo": -5.0, "ab": -4.0},
        **{" is": -3.0, "is": -5.0, "é": -7.0, "2": -6.0, "0": -6.0, "24": -6.0},
    }
)
"""A unigram vocabulary with a byte for whatever it has no piece for."""
