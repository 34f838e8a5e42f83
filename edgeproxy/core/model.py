"""The one idea: a `Model` turns tokens into rows of logits, remembers them, and can forget.

A llama.cpp context is a `Model`, an expert seen through another vocabulary is one, a trio is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.vocab import Vocab

Logits = NDArray[np.float32]
"""Rows of logits, shape (rows, len(vocab)), float32."""


class Model(Protocol):
    """What the decode loop knows of a language model.

    Invariants, held by every implementation:

    - `eval(tokens)` lets `n_past` grow by `len(tokens)`; `rewind(n)` lets it shrink by n.
    - `eval` either does all of its work or raises and leaves `n_past` and the state as they were. A
      model that cannot rewind may have forgotten everything then: `n_past` is 0.
    - The rows depend only on the tokens evaluated and not rewound, in order.
    - The rows returned are valid until the next call of `eval` or `rewind`.
    """

    @property
    def vocab(self) -> Vocab:
        """The vocabulary of the tokens that go in and of the rows that come out."""

    @property
    def n_past(self) -> int:
        """How many tokens have been evaluated and not rewound."""

    @property
    def n_ctx(self) -> int:
        """How many tokens `n_past` can reach."""

    @property
    def can_rewind(self) -> bool:
        """Whether a part of what was read can be forgotten; recurrent models forget all or none."""

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """Evaluate `tokens` after what is there; the logits that follow the last `rows` of them.

        Raises `ContextFullError` when they do not fit, `LogitsError` for a row without a usable
        number, `Cancelled` when asked to stop, `EngineError` otherwise.
        """

    def rewind(self, n: int) -> None:
        """Forget the last `n` tokens, 0 <= n <= `n_past`; 0 or all where it cannot rewind.

        Raises `EngineError` for any other `n`; nothing is forgotten then.
        """


class Branching(Model, Protocol):
    """A `Model` that can also look at several continuations at once."""

    @property
    def evaluated(self) -> int:
        """How many tokens have ever been evaluated, what branches had in common once."""

    def branch(
        self, trunk: Sequence[int], others: Sequence[tuple[int, Sequence[int]]] = ()
    ) -> list[Logits]:
        """Read `trunk` for good as `eval` would, and in the same step other paths on trial.

        Each of `others` is (n, tokens): `tokens` after the first n of what had been read before
        this call, 0 <= n <= `n_past`. It leaves no trace. `trunk` or a path may be empty.

        Returns an array for the trunk and one for each other path, in order: row i of shape
        (len(tokens), len(vocab)) follows token i. They may share memory, and are valid until the
        next call of `eval`, `rewind` or `branch`. The rows are those of `eval`, but for what a
        batch of another shape rounds otherwise. Paths of the same n (the trunk's is `n_past`)
        share the tokens that they have in common, which are evaluated once.

        Either does all of its work or raises and leaves `n_past` and the state as they were.
        Raises `ContextFullError` when what was read, the trunk and the paths do not fit together,
        `EngineError` for an n out of range, too many paths or too many rows, and as `eval` does.
        """


class Saving(Model, Protocol):
    """A `Model` whose state can be taken out and, later and elsewhere, put back."""

    def origin(self) -> Mapping[str, str]:
        """By name, all that must be the same for a state to be taken back."""

    def state_size(self) -> int:
        """How many bytes `state` would be now."""

    def state(self) -> memoryview:
        """What it has read, at least one token, as bytes."""

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        """Hold `tokens`, at least one, in place of what was read: as `state` has them, unread.

        `state` must come, undamaged, from a model of the same `origin` that had read just these.
        Raises `EngineError` where it cannot be put back; then nothing has been read.
        """
