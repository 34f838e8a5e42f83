"""Lets a model have read a given list of tokens, with as little evaluation as that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from edgeproxy.core.model import Logits, Model, Saving
from edgeproxy.errors import EngineError


class Reader:
    """What a model should have read (`want`), and the model that is brought there by `read`.

    `cut` and `add` change the wish alone, so a rewind costs nothing until the next `read`, and what
    is wished again after it has not to be evaluated again. Invariants:

    - what the model has read begins with the first `agreed` tokens of `want`;
    - after `read` the model has read exactly `want`;
    - an evaluation that fails leaves both as the invariants say, whatever it had done.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._have: list[int] = []
        self._agreed = 0
        self.want: list[int] = []

    @property
    def agreed(self) -> int:
        """How many tokens of `want` the model has read with nothing else between."""
        limit = min(len(self.want), len(self._have), self._model.n_past)
        while self._agreed < limit and self._have[self._agreed] == self.want[self._agreed]:
            self._agreed += 1
        return min(self._agreed, limit)

    def cut(self, n: int) -> None:
        """Wish for the first `n` tokens only."""
        del self.want[n:]
        self._agreed = min(self._agreed, n)

    def add(self, tokens: Sequence[int]) -> None:
        """Wish for these as well."""
        self.want.extend(tokens)

    def read(self, rows: int) -> Logits:
        """Bring the model to `want`; the rows after each of its last `rows` tokens.

        Raises what the model's `eval` raises, and `EngineError` where there is nothing to read.
        """
        if not 1 <= rows <= len(self.want):
            raise EngineError(f"{rows} rows asked of {len(self.want)} tokens")
        keep = min(self.agreed, len(self.want) - rows)
        keep = self._go_back(keep)
        rest = self.want[keep:]
        out = self._model.eval(rest, rows)
        self._have += rest
        self._agreed = len(self.want)
        return out

    def trim(self) -> None:
        """Have the model forget what it has read beyond what it agrees with `want` on."""
        self._go_back(self.agreed)

    def _go_back(self, n: int) -> int:
        """Have the model keep `n` tokens, or none where it cannot rewind; how many it has kept."""
        if self._model.n_past > n:
            n = n if self._model.can_rewind else 0
            self._model.rewind(self._model.n_past - n)
        del self._have[n:]
        self._agreed = min(self._agreed, n)
        return n

    def note_ahead(self, tokens: Sequence[int]) -> None:
        """Say that the model has read these after `want`, in case they are wished for later."""
        self._have += tokens

    def origin(self) -> Mapping[str, str]:
        """As the model's `Saving.origin`."""
        return cast(Saving, self._model).origin()

    def state(self) -> memoryview:
        """The model's state, of `want` alone. Raises `EngineError` where that was not read."""
        self._check_read()
        return cast(Saving, self._model).state()

    def state_size(self) -> int:
        """How many bytes `state` would be. Raises as it does."""
        self._check_read()
        return cast(Saving, self._model).state_size()

    def _check_read(self) -> None:
        self.trim()
        if self.agreed < len(self.want):
            raise EngineError("the model has not read what its state is asked of")

    def adopt(self, state: memoryview) -> None:
        """Have the model hold `want` as `state` has it, in place of what it has read."""
        cast(Saving, self._model).adopt(self.want, state)
        self._have = list(self.want)
