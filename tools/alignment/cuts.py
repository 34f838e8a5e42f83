"""How a base's tokenizer cuts texts that more may follow: for `tools.alignment.exact_tokens`."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

from edgeproxy.core.vocab import Vocab

OPEN, ASTRAY, BROKEN = -1, -2, -3
"""In the place of a token: undecided yet, not cut at that place, or no text at all."""

_PATIENCE = 64


class Cuts:
    """How a base's tokenizer cuts texts that more may follow.

    Whatever follows `text`, the last place before its end where it is cut is some q, from which one
    token reaches the end or goes beyond it. Up to q the tokens are those of the text up to q, since
    what a tokenizer makes of a text up to a cut of it does not depend on what comes after. So the
    base's token at a place is certain when all q from which a token could go on as the text does
    agree on it. Exact for BPE and unigram within a word. What it leaves out: splitting into words
    that looks ahead (GPT-2's does, at white space), cuts within a character other than those of the
    text so far, and texts undecided after 64 more bytes, which are taken as they are.
    """

    def __init__(self, base: Vocab) -> None:
        self._base = base
        self._texts = base.texts
        self._beginnings = {data[:n] for data in self._texts for n in range(1, len(data))}
        self._longest = max(map(len, self._texts))
        self._tokens = lru_cache(maxsize=1 << 16)(self._tokenize)
        self.token_at = lru_cache(maxsize=1 << 18)(self._token_at)

    def _token_at(self, text: bytes, at: int, *, ended: bool = False) -> int:
        """The base's token of `text` that begins at the byte `at`, or one of the three above."""
        try:
            text.decode()
        except UnicodeDecodeError as error:
            is_cut_off = error.reason == "unexpected end of data" and not ended
            return OPEN if is_cut_off else BROKEN
        if ended or len(text) - at > _PATIENCE:
            return self._of_prefix(text, len(text), at)
        found = OPEN
        for end in range(len(text), max(len(text) - self._longest, -1), -1):
            rest = text[end:]
            if rest and rest not in self._beginnings:
                continue
            if end == at:
                return OPEN
            if end < at:
                token = ASTRAY
            elif rest and rest[0] & 0xC0 == 0x80 and not self._cuts(text, end):
                continue
            else:
                token = self._of_prefix(text, end, at)
            if found not in (OPEN, token):
                return OPEN
            found = token
        return found

    def _cuts(self, text: bytes, place: int) -> bool:
        tokens = self._tokens(text)
        return tokens is not None and place in accumulate(len(self._texts[t]) for t in tokens)

    def _of_prefix(self, text: bytes, end: int, at: int) -> int:
        while end < len(text) and text[end] & 0xC0 == 0x80:
            end += 1  # a tokenizer takes whole characters
        tokens = self._tokens(text[:end])
        if tokens is None:
            return BROKEN
        place = 0
        for token in tokens:
            if place >= at:
                break
            place += len(self._texts[token])
        else:
            return ASTRAY
        return token if place == at else ASTRAY

    def _tokenize(self, text: bytes) -> list[int] | None:
        tokens = self._base.encode(text.decode())
        return tokens if b"".join(self._texts[token] for token in tokens) == text else None


@lru_cache(maxsize=16)
def cuts_of(base: Vocab) -> Cuts:
    """The one `Cuts` of a vocabulary."""
    return Cuts(base)
