"""A model that knows what it has read, and so goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab

_STRETCH = 256


class Remembering:
    """`model`, with the tokens that it has read; nobody else may use it meanwhile."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._read: list[int] = []

    @property
    def model(self) -> Model:
        """The model that is wrapped."""
        return self._model

    @property
    def vocab(self) -> Vocab:
        """As the model's."""
        return self._model.vocab

    @property
    def n_past(self) -> int:
        """As the model's."""
        return self._model.n_past

    @property
    def n_ctx(self) -> int:
        """As the model's."""
        return self._model.n_ctx

    @property
    def can_rewind(self) -> bool:
        """As the model's."""
        return self._model.can_rewind

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`."""
        del self._read[self.n_past :]
        # Noted first: an interrupt after the model has read must still find it.
        self._read.extend(tokens)
        return self._model.eval(tokens, rows)

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        self._model.rewind(n)

    def resume(self, prompt: Sequence[int]) -> Sequence[int]:
        """Forget what differs from `prompt`; the rest of it, still to be evaluated.

        At least one token is left, so that `eval` of the result gives a row. A model that cannot
        rewind reads all of it again, unless it goes on from what was read.
        """
        del self._read[self.n_past :]
        kept = kept_of(self._model, self._read, prompt)
        self.rewind(self.n_past - kept)
        del self._read[kept:]
        return prompt[kept:]


def kept_of(model: Model, read: Sequence[int], prompt: Sequence[int]) -> int:
    """How much of what `model` has `read` it can keep when it reads `prompt`, all but a token."""
    n = max(min(common_length(read, prompt), len(prompt) - 1), 0)
    return n if n == len(read) or model.can_rewind else 0


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many numbers both begin with, compared by whole stretches: texts are long."""
    end, start = min(len(left), len(right)), 0
    while start < end:
        stop = min(start + _STRETCH, end)
        one, other = list(left[start:stop]), list(right[start:stop])
        if one != other:
            return start + next(
                n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]
            )
        start = stop
    return end
