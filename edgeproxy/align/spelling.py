"""Bytes -> tokens, as a vocabulary's own tokenizer spells them, in parts that can be spelled alone.

A tokenizer spells text. What the base has said so far may end in half a character, or hold bytes
that are no text at all: those are spelled by the longest tokens that fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property, lru_cache

from edgeproxy.core.vocab import Vocab

MAX_WORD = 1024
"""Bytes in a word; a longer run without a space is cut there."""

_SPACE = ord(" ")
_BLANKS = frozenset(b" \t\r\n")


class Spelling:
    """`spelling(data)`: the tokens of one word, whose bytes are `data` in full where it can be.

    A *word* begins at each space that something other than white space stands before. No token
    holds such a place inside, so no merge crosses it and words are spelled one by one; a byte that
    a token of this vocabulary does hold before a space begins no word. The words of a text depend
    on the text alone, and those that a further one follows never change.
    """

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        # Of a copy: a cache that refers to who holds it would keep the model until a collection.
        self._spelled = lru_cache(maxsize=8192)(copy(self)._spell)

    def __call__(self, word: bytes) -> tuple[int, ...]:
        """The tokens of `word`. Bytes that no token holds are left out."""
        return self._spelled(word)

    def first(self, word: bytes) -> int:
        """The first token of `word`; -1 where no token holds its first byte."""
        tokens = self(word)
        return tokens[0] if tokens and word.startswith(self._vocab.texts[tokens[0]]) else -1

    def token_at(self, word: bytes, start: int) -> int | None:
        """The token of `word` that begins at the byte `start`, if one does."""
        at = 0
        for token in self(word):
            if at >= start:
                return token if at == start else None
            at += len(self._vocab.texts[token])
        return None

    def words(self, data: bytes) -> Iterator[bytes]:
        """`data`, which begins where a word does, cut into words."""
        start = 0
        while (end := self._end(data, start)) < len(data):
            yield data[start:end]
            start = end
        if start < len(data):
            yield data[start:]

    def _end(self, data: bytes, start: int) -> int:
        limit = start + MAX_WORD
        at = start
        while (at := data.find(b" ", at + 1, limit + 1)) >= 0:
            if data[at - 1] not in self._inside:
                return at
        if len(data) <= limit:
            return len(data)
        while limit > start + MAX_WORD - 4 and data[limit] & 0xC0 == 0x80:
            limit -= 1  # not within a character
        return limit

    @cached_property
    def _inside(self) -> frozenset[int]:
        """The bytes before a space that do not end a word."""
        found = set(_BLANKS)
        for text in self._vocab.texts:
            at = 0
            while (at := text.find(b" ", at + 1)) > 0:
                found.add(text[at - 1])
        return frozenset(found)

    def _spell(self, word: bytes) -> tuple[int, ...]:
        tokens: list[int] = []
        while word:
            try:
                text, broken = word.decode(), b""
                word = b""
            except UnicodeDecodeError as error:
                text, broken = word[: error.start].decode(), word[error.start : error.end]
                word = word[error.end :]
            tokens += self._of_text(text) if text else ()
            tokens += self._of_bytes(broken)
        return tuple(tokens)

    def _of_text(self, text: str) -> list[int]:
        tokens = self._vocab.encode(text)
        data = text.encode()
        # A tokenizer may normalise, or know no token for a character.
        if b"".join(self._vocab.texts[token] for token in tokens) == data:
            return tokens
        return self._of_bytes(data)

    def _of_bytes(self, data: bytes) -> list[int]:
        tokens: list[int] = []
        at = 0
        while at < len(data):
            token = self._longest_in(data[at : at + self._longest])
            if token is None:
                at += 1
            else:
                tokens.append(token)
                at += len(self._vocab.texts[token])
        return tokens

    def _longest_in(self, data: bytes) -> int | None:
        """The longest token that `data` begins with."""
        for end in range(min(len(data), self._longest), 0, -1):
            if (token := self._token_of.get(data[:end])) is not None:
                return token
        return None

    @cached_property
    def _token_of(self) -> dict[bytes, int]:
        texts = self._vocab.texts
        return {texts[token]: token for token in reversed(range(len(texts))) if texts[token]}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._token_of), default=1)
