"""A model whose tokens are the base's under other ids: padded and permuted vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align.reader import Reader
from edgeproxy.align.relation import Index
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import EngineError

LACKING = np.float32(-1e4)
"""The log-probability of a base token that the model does not have: finite, so that the expert's
minus the anti-expert's is 0 there and never NaN; tiny, so that no mask finds it plausible."""


class MappedModel:
    """A model seen through `index`, its token for each base token or -1; shape (n_base,).

    Rows hold the model's own logits where they speak of every base token. Otherwise they are
    log-probabilities over those that are `spoken` of, shape (n_base,), so that the others have
    offset 0 on the same scale, and `LACKING` fills the rest. `ends` are own tokens that end a text:
    where given, their pooled probability stands at the base's end-of-generation tokens.

    A base token without a counterpart is read as its spelling; one without any text as nothing.
    Ids from `len(vocab)` on are own tokens, `len(vocab) + n` for n: prompts are given in them.
    """

    def __init__(
        self,
        model: Model,
        base: Vocab,
        index: Index,
        spoken: NDArray[np.bool_],
        ends: frozenset[int] = frozenset(),
    ) -> None:
        self._model = model
        self._base = base
        self._index: list[int] = index.tolist()
        self._spelling = Spelling(model.vocab)
        self._reader = Reader(model)
        self._lengths: list[int] = []  # own tokens in `want` before each token read
        self._pooled = sorted(ends)
        self._ends = sorted(base.end_of_generation) if ends else []
        has = spoken.copy()
        has[self._ends] = False
        self._has = np.flatnonzero(has)
        self._gather = index[self._has]
        self._whole = len(self._has) == len(base)
        # A slice where it is one: it is read without a copy.
        shared = len(self._has)
        in_order = np.arange(shared)
        if np.array_equal(self._has, in_order) and np.array_equal(self._gather, in_order):
            self._slice: slice | None = slice(shared)
        else:
            self._slice = None
        self._rows = np.empty((0, len(base)), np.float32)
        self.own_rows: Logits = np.empty((0, len(model.vocab)), np.float32)
        """What the rows of the last `eval` were made of: the model's own, valid as they are."""

    @property
    def model(self) -> Model:
        """The model that is wrapped, which speaks its own vocabulary."""
        return self._model

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self._base

    @property
    def n_past(self) -> int:
        """How many tokens, the base's or own ones, have been read."""
        return len(self._lengths)

    @property
    def n_ctx(self) -> int:
        """As the wrapped model's."""
        return self._model.n_ctx

    @property
    def can_rewind(self) -> bool:
        """As the wrapped model's."""
        return self._model.can_rewind

    def own(self, tokens: Sequence[int]) -> list[int]:
        """The ids under which `eval` takes tokens of the model's own vocabulary."""
        return [len(self._base) + token for token in tokens]

    def reads(self, token: int) -> bool:
        """Whether it has anything to read for a base token that a text begins with."""
        return bool(self._own_tokens(token))

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`."""
        before = len(self._lengths)
        if not 1 <= rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        try:
            ends = self._take(tokens)
            if ends[-rows] == 0:
                raise EngineError("the smaller models have read nothing that a row could follow")
            raw = self._reader.read(ends[-1] - ends[-rows] + 1)
            if len(raw) != rows or ends[-rows] + rows - 1 != ends[-1]:
                raw = raw[np.array(ends[-rows:]) - ends[-rows]]
            self.own_rows = raw
            return self._map(raw)
        except BaseException:
            self.rewind(len(self._lengths) - before)
            raise

    def _take(self, tokens: Sequence[int]) -> list[int]:
        """Wish for `tokens` to be read; how many own tokens there are after each of them."""
        ends = []
        for token in tokens:
            self._lengths.append(len(self._reader.want))
            self._reader.add(self._own_tokens(token))
            ends.append(len(self._reader.want))
        return ends

    def _own_tokens(self, token: int) -> Sequence[int]:
        n_base = len(self._base)
        if not 0 <= token < n_base + len(self._model.vocab):
            raise EngineError(f"token {token} is outside the vocabulary of {n_base}")
        if token >= n_base:
            return (token - n_base,)
        if self._index[token] >= 0:
            return (self._index[token],)
        return self._spelling(self._base.texts[token])

    def _map(self, raw: Logits) -> Logits:
        # Not by an index: what that returns is summed in another order where it has more rows.
        own = raw[:, self._slice] if self._slice else raw.take(self._gather, axis=1)
        if self._whole:
            return own
        rows = len(raw)
        if len(self._rows) < rows:
            self._rows = np.full((rows, len(self._base)), LACKING)
        out = self._rows[:rows]
        total = log_sum_exp(raw if self._ends else own)
        if self._slice:
            np.subtract(own, total, out=out[:, self._slice])
        else:
            out[:, self._has] = own - total
        if self._ends:
            out[:, self._ends] = log_sum_exp(raw[:, self._pooled]) - total
        return out

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        if not 0 <= n <= len(self._lengths):
            raise EngineError(f"cannot forget {n} tokens of {len(self._lengths)}")
        if n:
            self._reader.cut(self._lengths[-n])
            del self._lengths[-n:]

    def origin(self) -> Mapping[str, str]:
        """As `Saving.origin`: the wrapped model's."""
        return self._reader.origin()

    def state_size(self) -> int:
        """As `Saving.state_size`: the wrapped model's."""
        return self._reader.state_size()

    def state(self) -> memoryview:
        """As `Saving.state`: the wrapped model's."""
        return self._reader.state()

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        """As `Saving.adopt`."""
        self.rewind(len(self._lengths))
        try:
            self._take(tokens)
            self._reader.adopt(state)
        except BaseException:
            self.rewind(len(self._lengths))
            raise


def log_sum_exp(rows: Logits) -> Logits:
    """log(sum(exp(row))) of each row, shape (rows, 1)."""
    largest = rows.max(axis=-1, keepdims=True)
    return np.asarray(largest + np.log(np.exp(rows - largest).sum(axis=-1, keepdims=True)))
