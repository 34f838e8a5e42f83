"""What `llama_decode` is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproxy.errors import EngineError
from edgeproxy.llama.library import lib


class Batch:
    """llama.cpp's batch of tokens, which knows its own capacity."""

    def __init__(self, capacity: int, n_sequences: int) -> None:
        self.capacity = capacity
        self.n_sequences = n_sequences
        self.struct: Any = lib.llama_batch_init(capacity, 0, n_sequences)
        shape = (capacity,)
        self._token = np.ctypeslib.as_array(self.struct.token, shape)
        self._position = np.ctypeslib.as_array(self.struct.pos, shape)
        self._wanted = np.ctypeslib.as_array(self.struct.logits, shape)
        self._n_sequences = np.ctypeslib.as_array(self.struct.n_seq_id, shape)

    def free(self) -> None:
        """Give the memory back. A second call does nothing."""
        struct, self.struct = self.struct, None
        if struct is not None:
            lib.llama_batch_free(struct)


class RunBatch(Batch):
    """A batch of tokens that follow one another in sequence 0."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, 1)
        self._n_sequences[:] = 1
        for n in range(capacity):
            self.struct.seq_id[n][0] = 0

    def fill(self, tokens: Sequence[int], position: int, rows: int) -> None:
        """Put in `tokens` from `position` on, the last `rows` of which get logits."""
        n = len(tokens)
        if not 1 <= n <= self.capacity:
            raise EngineError(f"a batch holds 1 to {self.capacity} tokens, not {n}")
        self.struct.n_tokens = n
        self._token[:n] = tokens
        self._position[:n] = np.arange(position, position + n)
        self._wanted[:n] = 0
        self._wanted[n - rows : n] = 1


class SequencesBatch(Batch):
    """A batch of several texts, each a sequence of its own from position 0 on."""

    def __init__(self, capacity: int, most: int) -> None:
        super().__init__(capacity, 1)
        self._most = most
        self._n_sequences[:] = 1
        self._wanted[:] = 1

    def fill(self, sequences: Sequence[Sequence[int]]) -> None:
        """Put in the tokens of `sequences`, none of which is empty."""
        n = sum(map(len, sequences))
        if not 1 <= n <= self.capacity or not 1 <= len(sequences) <= self._most:
            raise EngineError(
                f"a batch holds 1 to {self.capacity} tokens of {self._most} texts, not {n} of "
                f"{len(sequences)}"
            )
        self.struct.n_tokens = n
        at = 0
        for number, tokens in enumerate(sequences):
            end = at + len(tokens)
            self._token[at:end] = tokens
            self._position[at:end] = np.arange(len(tokens))
            for place in range(at, end):
                self.struct.seq_id[place][0] = number
            at = end
