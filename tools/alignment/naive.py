"""What people do without alignment, to measure what alignment is worth; nothing else uses it.

Both read each of the base's tokens as the model's own tokens of that token's text alone, so that
the model soon stands on boundaries that it never saw, and give rows over the base's vocabulary:

- `FirstToken`: a base token is worth what the first own token of its spelling is.
- `NoBoundaries`: a base token is worth all own tokens that begin with it, and where it is longer
  than any of them, the longest one that it begins with.

A token id of len(base) or more means the model's own token of that id - len(base): a prompt is
given in the model's own tokens.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align import LACKING
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError, EngineError

# Bytes that are no UTF-8, as the "surrogateescape" handler decodes them.
_LONE_BYTE = re.compile("([\udc80-\udcff])")


class _Naive(ABC):
    """A `Model` over the vocabulary of `base` that reads token by token.

    `n_past` counts what was given to `eval`. `n_ctx` is the model's own, which may be full sooner,
    as one of the base's tokens may be several of its own.
    """

    def __init__(self, model: Model, base: Vocab) -> None:
        self._model = model
        self._base = base
        self._own = model.vocab
        self._texts = base.texts
        self._byte_tokens = {
            data: token for token, data in enumerate(self._own.texts) if len(data) == 1
        }
        self._spelled: dict[int, list[int]] = {}
        self._read: list[int] = []
        self._counts: list[int] = []
        self._last: NDArray[np.float32] | None = None
        self._base_endings = sorted(base.end_of_generation)
        self._own_endings = sorted(self._own.end_of_generation)

    @abstractmethod
    def _project(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own log-probabilities, shape (len(own),), as those of base tokens, (len(base),)."""

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self._base

    @property
    def n_past(self) -> int:
        """How many tokens have been given to `eval` and not rewound."""
        return len(self._counts)

    @property
    def n_ctx(self) -> int:
        """As the model's."""
        return self._model.n_ctx

    @property
    def can_rewind(self) -> bool:
        """As the model's."""
        return self._model.can_rewind

    def spell(self, token: int) -> list[int]:
        """The model's own tokens for one that is given to `eval`: none where it is no text."""
        if not 0 <= token < len(self._base) + len(self._own):
            raise EngineError(f"token {token} is outside both vocabularies")
        if token >= len(self._base):
            return [token - len(self._base)]
        if token not in self._spelled:
            self._spelled[token] = self._tokenize(self._texts[token])
        return self._spelled[token]

    def _tokenize(self, data: bytes) -> list[int]:
        """Own tokens of `data`; bytes that are no UTF-8 by tokens of one byte, where there are."""
        tokens: list[int] = []
        for part in _LONE_BYTE.split(data.decode("utf-8", "surrogateescape")):
            if _LONE_BYTE.fullmatch(part):
                byte = self._byte_tokens.get(part.encode("utf-8", "surrogateescape"))
                tokens += [] if byte is None else [byte]
            else:
                tokens += self._own.encode(part)
        return tokens

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`. A token without own tokens gives the row before it again.

        Raises `EngineError` where no row comes before it.
        """
        if not 1 <= rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        if self.n_past + len(tokens) > self.n_ctx:
            raise ContextFullError(f"the context of {self.n_ctx:,} tokens is full")
        spelled = [self.spell(token) for token in tokens]
        before = self.n_past
        out = np.empty((rows, len(self._base)), np.float32)
        first = len(tokens) - rows
        try:
            out[0] = self._row(self._step(spelled[: first + 1]))
            for row, own_tokens in enumerate(spelled[first + 1 :], 1):
                out[row] = self._row(self._step([own_tokens]))
        except BaseException:
            self.rewind(self.n_past - before)
            raise
        return out

    def _step(self, spelled: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Read the own tokens of some base tokens; the model's row after the last of them."""
        own_tokens = [token for tokens in spelled for token in tokens]
        if own_tokens:
            self._last = self._model.eval(own_tokens)[-1].copy()
        elif not self._read:
            raise EngineError("nothing was read that a row could follow")
        elif self._last is None:
            # After a rewind nobody has the row, so the last own token is read once more.
            self._model.rewind(1)
            self._last = self._model.eval(self._read[-1:])[-1].copy()
        self._read += own_tokens
        self._counts += map(len, spelled)
        return self._last

    def _row(self, own_row: NDArray[np.float32]) -> NDArray[np.float64]:
        log_p = own_row.astype(np.float64)
        log_p -= log_p.max()
        log_p -= np.log(np.exp(log_p).sum())
        row = self._project(log_p)
        row[self._base_endings] = _log(np.exp(log_p[self._own_endings]).sum())
        return np.asarray(np.maximum(row, LACKING))

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        if not 0 <= n <= self.n_past:
            raise EngineError(f"cannot forget {n} tokens of {self.n_past}")
        kept = self.n_past - n
        own = sum(self._counts[kept:])
        self._model.rewind(own)
        if own:
            self._last = None
        del self._counts[kept:], self._read[len(self._read) - own :]


class FirstToken(_Naive):
    """A base token's value is the log-probability of the first own token of its spelling.

    All base tokens are tokenised when it is made: about a second for 150,000 of them.
    """

    def __init__(self, model: Model, base: Vocab) -> None:
        super().__init__(model, base)
        firsts = [(self.spell(token) or [-1])[0] for token in range(len(base))]
        self._first = np.array(firsts, np.intp)

    def _project(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self._first >= 0, log_p[self._first], LACKING)


class NoBoundaries(_Naive):
    """A base token's value is the log of what all own tokens that begin with it have together.

    Where it is no own token itself, the longest own token that it begins with is added.
    """

    def __init__(self, model: Model, base: Vocab) -> None:
        super().__init__(model, base)
        own = self._own.texts
        # Several own tokens may have the same bytes: they count as one.
        strings = sorted({data for data in own if data})
        self._n_strings = len(strings)
        place = {data: n for n, data in enumerate(strings)}
        self._places = np.array([place.get(data, len(strings)) for data in own], np.intp)
        ranges = np.array([_range(strings, data) for data in self._texts], np.intp)
        # In order, so that what `add.reduceat` adds between two ranges is short.
        self._order = np.argsort(ranges[:, 0], kind="stable")
        self._ranges = ranges[self._order]
        self._prefix = np.array(
            [len(strings) if b in place else _longest_prefix(place, b) for b in self._texts],
            np.intp,
        )

    def _project(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        p = np.bincount(self._places, np.exp(log_p), minlength=self._n_strings + 1)
        p[-1] = 0.0  # all that is no text
        starts, ends = self._ranges.T
        sums = np.add.reduceat(p, self._ranges.ravel())[::2]
        total = np.empty(len(self._base))
        total[self._order] = np.where(starts < ends, sums, 0.0)
        return _log(total + p[self._prefix])


def _range(strings: Sequence[bytes], prefix: bytes) -> tuple[int, int]:
    """From where to where the sorted `strings` begin with `prefix`; nothing begins with none."""
    kept = prefix.rstrip(b"\xff")
    start = bisect_left(strings, prefix) if prefix else 0
    if not kept:
        return start, len(strings) if prefix else 0
    return start, bisect_left(strings, kept[:-1] + bytes([kept[-1] + 1]))


def _longest_prefix(place: dict[bytes, int], data: bytes) -> int:
    """The place of the longest proper prefix of `data` that has one, else the last place."""
    lengths = range(len(data) - 1, 0, -1)
    return next((place[data[:n]] for n in lengths if data[:n] in place), len(place))


def _log(p: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p))
