"""The first token that a tokenizer makes of each of many words, asked about many at a time.

A call of llama.cpp's tokenizer may take 45 microseconds before it has looked at anything (some
pre-tokenizers are compiled anew each time), and two vocabularies differ in 100,000 words. So the
words are joined to texts, with `BETWEEN` between them, and several texts are asked about at once.
The answer for a word is the one that it has alone:

- `BETWEEN` begins and ends with a line break, which no pre-tokenizer takes into a letter's part or
  into that of one space or tab after it; and it holds a letter, so no run of breaks goes beyond.
- Merges on both sides of a place that no token crosses do not depend on each other; so an answer
  counts only where a token begins at the word's start and one ends at its end.

Any other word (a long one, or one with more white space at its ends, a line break, or bytes that
are no text) is asked about alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align.spelling import Spelling
from edgeproxy.core.threads import processors
from edgeproxy.core.vocab import Vocab

BETWEEN = "\nx\n"

MAX_JOINED = 2000
"""Words in one text: some 20 KB, of which a tokenizer makes tokens in 0.01 s."""

MAX_LENGTH = 100
"""Bytes of a word that is joined to others: no text is longer than a tokenizer takes."""

MAX_ALONE = 200
"""Words that are asked about one by one between two calls of `step`."""

_MAX_THREADS = 4

Step = Callable[[int], None]
"""Called with how many more words have been answered; what it raises ends the work."""

Tokens = NDArray[np.int32]


def firsts(vocab: Vocab, words: Sequence[bytes], step: Step) -> Tokens:
    """`Spelling(vocab).first` of each word; shape (len(words),)."""
    asked = _Asked(vocab, words)
    places = [n for n, word in enumerate(words) if asked.may_be_joined(word)]
    found = np.full(len(words), -1, np.int32)
    is_answered = np.zeros(len(words), bool)
    with ThreadPoolExecutor(min(_MAX_THREADS, processors()), "edgeproxy-align") as pool:

        def ask(work: Callable[[Sequence[int]], Tokens], places: Sequence[int], size: int) -> None:
            parts = [places[start : start + size] for start in range(0, len(places), size)]
            futures = [pool.submit(work, part) for part in parts]
            for part, future in zip(parts, futures, strict=True):
                tokens = future.result()
                found[part] = tokens
                is_answered[part] = tokens != _UNANSWERED
                step(int(is_answered[part].sum()))

        try:
            ask(asked.joined, places, MAX_JOINED)
            ask(asked.alone, np.flatnonzero(~is_answered).tolist(), MAX_ALONE)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


_UNANSWERED = -2


class _Asked:
    """A vocabulary's tokenizer and the words that it is asked about, which go by their places."""

    def __init__(self, vocab: Vocab, words: Sequence[bytes]) -> None:
        self._vocab = vocab
        self._words = words
        self._spelling = Spelling(vocab)
        self._lengths = np.fromiter(map(len, vocab.texts), np.int64, len(vocab))
        self._alphabet = b"".join(text for text in vocab.texts if len(text) == 1)

    def may_be_joined(self, word: bytes) -> bool:
        """Whether the word may be asked about between others."""
        # Where the tokenizer leaves bytes out, places in a text are not known.
        if len(word) > MAX_LENGTH or word.translate(None, self._alphabet):
            return False
        try:
            text = word.decode()
        except UnicodeDecodeError:
            return False
        text = text[text[:1] in (" ", "\t") :]
        return bool(text) and text == text.strip() and "\n" not in text

    def joined(self, places: Sequence[int]) -> Tokens:
        """The answers from one text of all these words; `_UNANSWERED` where it gives none."""
        answers = np.full(len(places), _UNANSWERED, np.int32)
        words = [self._words[place] for place in places]
        between = BETWEEN.encode()
        text = between + between.join(words) + between
        tokens = np.array(self._vocab.encode(text.decode()), np.int32)
        if b"".join([self._vocab.texts[token] for token in tokens.tolist()]) != text:
            return answers
        ends = np.cumsum(self._lengths[tokens])
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        word_ends = np.cumsum(lengths + len(between))
        before = np.searchsorted(ends, word_ends - lengths)
        last = np.searchsorted(ends, word_ends)
        is_whole = (ends[before] == word_ends - lengths) & (ends[last] == word_ends)
        answers[is_whole] = tokens[before[is_whole] + 1]
        return answers

    def alone(self, places: Sequence[int]) -> Tokens:
        """The answers for each word by itself."""
        return np.array([self._spelling.first(self._words[place]) for place in places], np.int32)
