"""What training sees: the tokens of examples, and which of them are predicted.

They are held in two flat arrays, so that 100,000 examples take 5 bytes a token and little more.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tokens:
    """One sequence of tokens that training reads from its beginning.

    - `ids`: token ids, int32 of shape (n,).
    - `is_reply`: bool of shape (n,); True where a token belongs to an assistant's reply, the token
      that ends it included. Those are predicted, each from all tokens before it.
    """

    ids: NDArray[np.int32]
    is_reply: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


class TokenSet(Sequence[Tokens]):
    """Sequences of tokens in flat arrays; those that it gives are views of them.

    `ids` and `is_reply` are those of all sequences; sequence n is from `starts[n]` up to `ends[n]`.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        is_reply: NDArray[np.bool_],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        self._ids, self._is_reply = ids, is_reply
        self._starts, self._ends = starts, ends

    @classmethod
    def of(cls, sequences: Iterable[Tokens]) -> TokenSet:
        """A set of these sequences."""
        collected = Collector()
        for tokens in sequences:
            collected.add(tokens)
        return collected.token_set()

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Tokens: ...
    @overload
    def __getitem__(self, index: slice) -> TokenSet: ...
    def __getitem__(self, index: int | slice) -> Tokens | TokenSet:
        if isinstance(index, slice):
            return self.chosen(range(*index.indices(len(self))))
        start, end = self._starts[index], self._ends[index]
        return Tokens(self._ids[start:end], self._is_reply[start:end])

    def chosen(self, numbers: Sequence[int] | NDArray[np.intp]) -> TokenSet:
        """The sequences of these numbers; the tokens are shared, not copied."""
        which = np.asarray(numbers, dtype=np.int64)
        return TokenSet(self._ids, self._is_reply, self._starts[which], self._ends[which])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each sequence has, shape (len(self),)."""
        return self._ends - self._starts

    @property
    def n_tokens(self) -> int:
        """How many tokens there are."""
        return int(self.lengths.sum())

    @property
    def n_reply_tokens(self) -> int:
        """How many of them are predicted."""
        # Not with reduceat, which counts an element for an empty sequence.
        return sum(int(np.count_nonzero(tokens.is_reply)) for tokens in self)


class Collector:
    """Gathers sequences one by one."""

    def __init__(self) -> None:
        self._ids = array("i")
        self._is_reply = bytearray()
        self._starts, self._ends = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, tokens: Tokens) -> None:
        """Add a sequence."""
        self._starts.append(len(self._ids))
        self._ids.frombytes(tokens.ids.astype(np.int32).tobytes())
        self._is_reply += tokens.is_reply.astype(np.bool_).tobytes()
        self._ends.append(len(self._ids))

    def token_set(self) -> TokenSet:
        """All that was added; nothing can be added afterwards."""
        # A copy of none of it: the arrays lie where they grew.
        return TokenSet(
            np.frombuffer(self._ids, dtype=np.int32),
            np.frombuffer(self._is_reply, dtype=np.bool_),
            np.frombuffer(self._starts, dtype=np.int64),
            np.frombuffer(self._ends, dtype=np.int64),
        )
