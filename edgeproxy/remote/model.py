"""A server's predictions as a `Model`: what it has read is remembered here and sent each time.

The server keeps what it has read of the same beginning; that is its prefix cache, which this model
relies on and cannot see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError, EngineError, RemoteError
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws, Known, Predicts, Way
from edgeproxy.remote.rows import another_model

_CLOSED = "the session has been closed; load the trio again"

WIDER = 50
"""So many times as much of a row is asked for again: 200 and then 10,000 settle most doubts, and
10,000 took llama-server little longer than 200, all of 151,936 ten times as long."""

MOST_TOLD = 400_000
"""Log-probabilities that one answer has at most, more than a row: each takes some 100 bytes."""


class RemoteModel:
    """A `Model` whose rows are log-probabilities, -inf for tokens that the server does not tell of.

    `vocab` is the server's vocabulary, `k` how many log-probabilities of a row are asked for first,
    and `n_ctx` counts tokens. With `k` 0, the way "bias", the server draws each token itself, as
    `draws` says, and a row is 0 for that one and -inf for all others. While `cancel` is set,
    evaluations end with `Cancelled`.
    """

    def __init__(
        self,
        server: Predicts,
        vocab: Vocab,
        n_ctx: int,
        k: int,
        way: Way = "rows",
        cancel: Cancel | None = None,
    ) -> None:
        self.server = server
        self.k = min(k, len(vocab))
        self.way = way
        self.draws = Draws()
        """How the server draws where it does; may be changed between evals."""
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._stopped = Flag()
        self._cancel = _Either(self._stopped, cancel or Flag())
        self._read: list[int] = []
        self._rows = np.empty((0, len(vocab)), np.float32)
        self._asked: list[int] = []  # how many log-probabilities, of each row last returned
        self._is_open = True

    @property
    def vocab(self) -> Vocab:
        """As `Model.vocab`."""
        return self._vocab

    @property
    def n_past(self) -> int:
        """As `Model.n_past`."""
        return len(self._read)

    @property
    def n_ctx(self) -> int:
        """As `Model.n_ctx`."""
        return self._n_ctx

    @property
    def can_rewind(self) -> bool:
        """Always: it is this list of tokens that goes back."""
        return True

    @property
    def is_partial(self) -> bool:
        """Whether rows leave tokens out."""
        return self.k < len(self._vocab)

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`; raises `RemoteError` where the server fails."""
        text = self._with(tokens)
        if not 1 <= rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        if not self.k:
            return self._drawn(tokens, rows)
        found: list[Known] = []
        most = max(1, MOST_TOLD // self.k)
        while len(found) < rows:
            n = min(most, rows - len(found))
            end = len(text) - rows + len(found) + n
            told = self.server.rows(text[:end], n, self.k, self._cancel)
            if len(told) != n:
                raise RemoteError(self.server.who, f"it gave {len(told)} rows and not {n}")
            found += told
        if len(self._rows) < rows:
            self._rows = np.empty((rows, len(self._vocab)), np.float32)
        out = self._rows[:rows]
        out.fill(-np.inf)
        for row, known in zip(out, found, strict=True):
            row[self._checked(known)] = known.logprobs
        self._read = text
        self._asked = [self.k] * rows
        return out

    def widen(self, row: int) -> bool:
        """Tell `WIDER` times as much of one of the rows that `eval` returned last, in its place.

        False in another way than "rows", and where the server tells no more. Raises as `eval`.
        """
        place = self._place_of(row)
        most = self.server.offer.most_logprobs
        asked = min(self._asked[row] * WIDER, len(self._vocab))
        asked = asked if most is None else min(asked, most)
        if self.way != "rows" or asked <= self._asked[row]:
            return False
        known = self.server.rows(self._read[:place], 1, asked, self._cancel)
        if len(known) != 1:
            raise RemoteError(self.server.who, f"it gave {len(known)} rows and not 1")
        tokens = self._checked(known[0])
        self._rows[row].fill(-np.inf)
        self._rows[row, tokens] = known[0].logprobs
        self._asked[row] = asked
        return True

    @property
    def can_look_up(self) -> bool:
        """Whether the server is asked for tokens of which it has not told: in the way "top-k"."""
        return self.way == "top-k" and self.server.offer.tells_any_token

    def look_up(self, row: int, token: int) -> float | None:
        """The log-probability of `token` in one of the rows that `eval` returned last.

        None where the server cannot say it of this token. Raises as `eval`.
        """
        place = self._place_of(row)
        if not 0 <= token < len(self._vocab):
            raise EngineError(f"there is no token {token} to be looked up")
        return self.server.look_up(self._read[:place], token, self._cancel)

    def _place_of(self, row: int) -> int:
        """How many tokens a row that `eval` returned last comes after."""
        if not 0 <= row < len(self._asked):
            raise EngineError(f"there is no row {row} of which more could be told")
        return len(self._read) - len(self._asked) + row + 1

    def _drawn(self, tokens: Sequence[int], rows: int) -> Logits:
        if rows != 1:
            raise EngineError("a server that draws its tokens gives one row at a time")
        return row_of(self.draw(tokens, {}).token, len(self._vocab))

    def draw(self, tokens: Sequence[int], bias: BiasBy) -> Drawn:
        """The token that the server draws after `tokens`, which are read then. Raises as `eval`."""
        text = self._with(tokens)
        asked = dict(self.draws.logit_bias)
        for token, value in bias.items():
            asked[token] = asked.get(token, 0.0) + value
        largest = self.server.offer.largest_bias
        if largest is not None:
            asked = {token: max(-largest, min(value, largest)) for token, value in asked.items()}
        drawn = self.server.draw(text, asked, self.draws, self._cancel)
        if not 0 <= drawn.token < len(self._vocab):
            raise another_model(drawn.token, self._vocab, self.server.who)
        self._read = text
        return drawn

    def _with(self, tokens: Sequence[int]) -> list[int]:
        """What has been read and `tokens`, checked; a request for it may go out then."""
        self._stopped.clear()
        if not self._is_open:
            raise EngineError(_CLOSED)
        for token in tokens:
            if not 0 <= token < len(self._vocab):
                raise EngineError(f"token {token} is outside the vocabulary of {len(self._vocab)}")
        if not tokens:
            raise EngineError("there is nothing to evaluate")
        if len(self._read) + len(tokens) > self._n_ctx:
            raise ContextFullError(
                f"{len(self._read)} + {len(tokens)} tokens do not fit the {self._n_ctx} of the "
                "server's context"
            )
        return [*self._read, *tokens]

    def _checked(self, known: Known) -> NDArray[np.int64]:
        low, high = int(known.tokens.min()), int(known.tokens.max())
        if low < 0 or high >= len(self._vocab):
            raise another_model(low if low < 0 else high, self._vocab, self.server.who)
        return known.tokens

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        if not 0 <= n <= len(self._read):
            raise EngineError(f"cannot forget {n} tokens of {len(self._read)}")
        if n:
            del self._read[-n:]

    def origin(self) -> Mapping[str, str]:
        """As `Saving.origin`."""
        return {"server": self.server.offer.model, "vocabulary": self._vocab.fingerprint}

    def state_size(self) -> int:
        """As `Saving.state_size`."""
        return 4 * len(self._read)

    def state(self) -> memoryview:
        """As `Saving.state`: what was read, which is sent again in any case."""
        return memoryview(np.array(self._read, "<i4").tobytes())

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        """As `Saving.adopt`."""
        if bytes(state) != np.array(tokens, "<i4").tobytes():
            self._read = []
            raise EngineError("the state is of other tokens")
        self._read = []
        self._read = self._with(tokens)

    def stop(self) -> None:
        """Let a request that is under way end with `Cancelled`; from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the server. A second call does nothing."""
        self._is_open = False
        self.server.close()


class _Either:
    """A `Cancel` that is set while one of these is."""

    def __init__(self, *cancels: Cancel) -> None:
        self._cancels = cancels

    def is_set(self) -> bool:
        return any(cancel.is_set() for cancel in self._cancels)


def row_of(token: int, n_vocab: int) -> Logits:
    """The row, shape (1, n_vocab), of which only the token is known that was drawn from it."""
    row = np.full((1, n_vocab), -np.inf, np.float32)
    row[0, token] = 0.0
    return row
