"""Wraps a pair's `Model`s so that they speak the base's vocabulary.

| case | test | cost of an eval |
|---|---|---|
| same | every id has the same bytes and kind | nothing |
| padded | the same up to the shorter one, the rest no ordinary text | a log-softmax and a slice |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeproxy.errors import EngineError
from edgeproxy.model import Logits, Model
from edgeproxy.vocab import Match, Vocab, match

LACKING = np.float32(-1e4)
"""The log-probability of a base token that the model does not have: finite, so that the expert's
minus the anti-expert's is 0 there and never NaN; tiny, so that no mask finds it plausible."""


def align(
    expert: Model, anti_expert: Model, base: Vocab
) -> tuple[tuple[Model, Model], tuple[Match, Match]]:
    """Both models of a pair over the vocabulary of `base`, and how each is related to it.

    A token that one of them lacks is kept from both, so that its offset is 0. Raises
    `VocabularyError` naming the first token that differs when the vocabularies are not related.
    """
    pair = (expert, anti_expert)
    matches = (
        match(base, expert.vocab, "the expert"),
        match(base, anti_expert.vocab, "the anti-expert"),
    )
    if all(found.case == "same" for found in matches):
        return pair, matches
    shared = min(found.shared for found in matches)
    return (PaddedModel(expert, base, shared), PaddedModel(anti_expert, base, shared)), matches


class PaddedModel:
    """A model whose first `shared` tokens are the base's; its other tokens are never spoken.

    Rows are log-probabilities over the shared tokens, so that a base token without a counterpart
    has offset 0 on the same scale as the others. `LACKING` fills the rest.
    """

    def __init__(self, model: Model, base: Vocab, shared: int) -> None:
        self._model = model
        self._base = base
        self._shared = shared
        self._rows = np.empty((0, len(base)), np.float32)

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self._base

    @property
    def n_past(self) -> int:
        """As the wrapped model's."""
        return self._model.n_past

    @property
    def n_ctx(self) -> int:
        """As the wrapped model's."""
        return self._model.n_ctx

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`. Raises `EngineError` for a token that the wrapped model lacks."""
        if max(tokens, default=0) >= self._shared:
            raise EngineError(f"token {max(tokens)} is padding that the smaller models lack")
        raw = self._model.eval(tokens, rows)[:, : self._shared]
        if len(self._rows) < rows:
            self._rows = np.full((rows, len(self._base)), LACKING)
        out = self._rows[:rows]
        np.subtract(raw, _log_sum_exp(raw), out=out[:, : self._shared])
        return out

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        self._model.rewind(n)


def _log_sum_exp(rows: Logits) -> Logits:
    """log(sum(exp(row))) of each row, shape (rows, 1)."""
    largest = rows.max(axis=-1, keepdims=True)
    return np.asarray(largest + np.log(np.exp(rows - largest).sum(axis=-1, keepdims=True)))
