"""Which texts of a prompt are markers, and a prompt's tokens: a person's text is never a marker.

A marker is

- a token of kind CONTROL or UNKNOWN;
- a token of kind USER_DEFINED that is spelled `<|...|>`, or that ends a reply;
- any other token that is spelled like a marker, where the template writes it.

The rule: where the template wrote all of a marker's characters it is that one token, whatever its
kind; where a person wrote one of them it is spelled in ordinary tokens. Tokens that files call
USER_DEFINED for other ends, HTML tags and runs of spaces, are ordinary text. All text between two
markers is tokenised together, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

from edgeproxy.core.vocab import Kind, Vocab

_SHAPE = re.compile(r"<[^\s<>][^<>]{0,126}>|\[/?[A-Z][A-Z_ ]{0,126}\]")
_BARRED = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)
_SPACE = " \t\n\v\f\r"


class Span(NamedTuple):
    """Where in a text a marker is spelled: its first character, and the one after its last."""

    start: int
    end: int


class Markers:
    """The markers of one vocabulary: token ids by spelling.

    Those `reserved` are markers in every prompt, `others` where the prompt's template writes them.
    """

    def __init__(self, vocab: Vocab) -> None:
        self.reserved: dict[str, int] = {}
        self.others: dict[str, int] = {}
        for token in vocab.spelled_specially:
            text, kind = vocab.tokens[token].decode(errors="replace"), vocab.kinds[token]
            special = kind in (Kind.CONTROL, Kind.UNKNOWN)
            barred = kind == Kind.USER_DEFINED and _BARRED.fullmatch(text)
            if special or barred or token in vocab.end_of_generation:
                if text.strip():
                    self.reserved.setdefault(text, token)
            elif _SHAPE.fullmatch(text):
                self.others.setdefault(text, token)
        self._ids = {**self.others, **self.reserved}
        self._lengths: dict[str, list[int]] = {}
        for length, first in sorted({(len(text), text[0]) for text in self._ids}, reverse=True):
            self._lengths.setdefault(first, []).append(length)
        firsts = "".join(map(re.escape, self._lengths))
        self._begins = re.compile(f"[{firsts}]" if firsts else "(?!)")
        for span in self.spans(vocab.chat_template or ""):
            text = (vocab.chat_template or "")[span.start : span.end]
            self.reserved[text] = self._ids[text]
        self._apart: dict[int, bool] = {}
        self._strips: dict[int, bool] = {}

    @property
    def edges(self) -> set[str]:
        """Characters of which every marker has one at its beginning and one at its end."""
        return {edge for text in map(str.strip, self._ids) for edge in (text[0], text[-1])}

    def spans(self, text: str) -> Iterator[Span]:
        """Every place of `text` where a marker is spelled, the longest of those from a place first.

        They may overlap.
        """
        for found in self._begins.finditer(text):
            start = found.start()
            for length in self._lengths[found[0]]:
                if text[start : start + length] in self._ids:
                    yield Span(start, start + length)

    def leading(self, text: str) -> int | None:
        """The token of the marker that `text` begins with, after white space, if there is one."""
        text = text.lstrip()
        found = next((span for span in self.spans(text) if span.start == 0), None)
        return None if found is None else self._ids[text[: found.end]]

    def encode(self, text: str, trusted: bytes, vocab: Vocab) -> list[int]:
        """The tokens of a prompt; `trusted` has a 1 for each character that the template wrote."""
        own: list[Span] = []
        broken: list[Span] = []
        for span in self.spans(text):
            if 0 in trusted[span.start : span.end]:
                broken.append(span)
            elif not own or span.start >= own[-1].end:
                own.append(span)
        written = self.reserved.keys() | {text[span.start : span.end] for span in own}
        cuts = {span.start + 1 for span in broken if text[span.start : span.end] in written}
        ids: list[int] = []
        at, opens = 0, True
        for start, end in own:
            token = self._ids[text[start:end]]
            if self._stands_apart(token, text[start:end], vocab):
                ids += _ordinary(text, at, start, cuts, opens, vocab)
                ids.append(token)
                at, opens = end, True
                if self._drops_space(token, text[start:end], vocab):
                    at += len(text) - end - len(text[end:].lstrip(_SPACE))
        return ids + _ordinary(text, at, len(text), cuts, opens, vocab)

    def go_on(self, text: str, vocab: Vocab) -> list[int]:
        """The tokens of what a model says after a prompt: as in a prompt, but nothing before it."""
        found = (span for span in self.spans(text) if text[span.start : span.end] in self.reserved)
        cuts = {span.start + 1 for span in found}
        return _ordinary(text, 0, len(text), cuts, False, vocab)

    def _stands_apart(self, token: int, text: str, vocab: Vocab) -> bool:
        """Whether a template's marker has to be put in by its id.

        A word of the vocabulary that ordinary text is read as, such as a tag, is left in its text.
        """
        if token not in self._apart:
            is_word = vocab.kinds[token] in (Kind.NORMAL, Kind.UNUSED)
            self._apart[token] = not is_word or vocab.tokenize(text, True, False) != [token]
        return self._apart[token]

    def _drops_space(self, token: int, text: str, vocab: Vocab) -> bool:
        """Whether white space after a marker is dropped, which files do not say and Phi-3 does."""
        if token not in self._strips:
            self._strips[token] = vocab.tokenize(text + "\n", True, True) == [token]
        return self._strips[token]


def _ordinary(
    text: str, start: int, end: int, cuts: set[int], opens: bool, vocab: Vocab
) -> list[int]:
    """The tokens of what lies between two markers, which `opens` after one or at the beginning."""
    ids: list[int] = []
    places = [start, *sorted(cut for cut in cuts if start < cut < end), end]
    for begin, stop in pairwise(places):
        ids += vocab.tokenize(text[begin:stop], opens and begin == start, False)
    return ids


_known: WeakKeyDictionary[Vocab, Markers] = WeakKeyDictionary()


def markers_of(vocab: Vocab) -> Markers:
    """The markers of `vocab`, found once."""
    if vocab not in _known:
        _known[vocab] = Markers(vocab)
    return _known[vocab]
