"""llama.cpp's sampler chain, applied to a row of logits that is ours."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.errors import EngineError, LogitsError
from edgeproxy.llama.library import lib
from edgeproxy.llama.weights import Weights

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class SamplerChain:
    """Samplers in the order in which they are added; the last one must choose (greedy or dist).

    `pick(row)` applies them to the tokens whose logit is not -inf and returns the chosen id;
    `accept(id)` tells those with a memory (penalties, DRY). Not for two threads at once.
    """

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if not self._chain:
            raise EngineError("llama.cpp could not make a sampler chain")
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._candidates = np.zeros(n_vocab, _CANDIDATE)
        self._array = lib.llama_token_data_array()
        self._data = self._candidates.ctypes.data_as(lib.llama_token_data_p)
        self._keep_alive: list[Any] = []

    def _add(self, sampler: Any, name: str) -> None:
        if not sampler:
            raise EngineError(f"llama.cpp refused the settings of the {name} sampler")
        lib.llama_sampler_chain_add(self._chain, sampler)

    def add_logit_bias(self, bias: Mapping[int, float]) -> None:
        """Add `bias[id]` to the logits of these tokens."""
        entries = (lib.llama_logit_bias * len(bias))(*bias.items())
        self._add(
            lib.llama_sampler_init_logit_bias(self._n_vocab, len(bias), entries), "logit bias"
        )

    def add_penalties(self, last_n: int, repeat: float, frequency: float, presence: float) -> None:
        """Lower the tokens seen among the `last_n` accepted ones."""
        sampler = lib.llama_sampler_init_penalties(
            self._n_vocab, last_n, repeat, frequency, presence
        )
        self._add(sampler, "repetition penalty")

    def add_dry(
        self,
        weights: Weights,
        multiplier: float,
        base: float,
        allowed_length: int,
        last_n: int,
        breakers: Sequence[str],
    ) -> None:
        """Lower tokens that would continue a repeated sequence (DRY, by p-e-w)."""
        texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
        sampler = lib.llama_sampler_init_dry(
            weights.vocab_pointer, multiplier, base, allowed_length, last_n, texts, len(breakers)
        )
        self._keep_alive.append(weights)
        self._add(sampler, "DRY")

    def add_top_k(self, k: int) -> None:
        """Keep the k largest."""
        self._add(lib.llama_sampler_init_top_k(k), "top-k")

    def add_top_p(self, p: float) -> None:
        """Keep the smallest set of tokens whose probabilities sum to p (nucleus sampling)."""
        self._add(lib.llama_sampler_init_top_p(p, 1), "top-p")

    def add_min_p(self, p: float) -> None:
        """Keep tokens at least p times as probable as the most probable one."""
        self._add(lib.llama_sampler_init_min_p(p, 1), "min-p")

    def add_temperature(self, temperature: float) -> None:
        """Divide the logits by the temperature."""
        self._add(lib.llama_sampler_init_temp(temperature), "temperature")

    def add_greedy(self) -> None:
        """Choose the largest."""
        self._add(lib.llama_sampler_init_greedy(), "greedy")

    def add_draw(self, seed: int) -> None:
        """Choose at random by probability; one draw a token."""
        self._add(lib.llama_sampler_init_dist(seed), "random draw")

    def pick(self, row: Logits) -> int:
        """The token that the chain chooses from `row`, shape (n_vocab,), which is left as it is.

        Raises `LogitsError` for a NaN, and when no entry is finite.
        """
        if not self._chain:
            raise EngineError("this sampler has been closed")
        if not math.isfinite(row.max()):
            raise LogitsError("no token can be chosen: the logits are not numbers")
        # After the plausibility mask few tokens are left, and the chain's cost is theirs alone.
        kept = row != -np.inf
        n = int(np.count_nonzero(kept))
        candidates = self._candidates[:n]
        candidates["id"] = self._ids if n == len(row) else np.flatnonzero(kept)
        candidates["logit"] = row if n == len(row) else row[kept]
        array = self._array
        array.data = self._data  # a sampler may have moved it
        array.size, array.selected, array.sorted = n, -1, False
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        if not 0 <= array.selected < array.size:
            raise EngineError("the sampler chain chose no token")
        return int(array.data[array.selected].id)

    def accept(self, token: int) -> None:
        """Tell the samplers with a memory that `token` is part of the text now."""
        if not self._chain:
            raise EngineError("this sampler has been closed")
        if not 0 <= token < self._n_vocab:
            raise EngineError(f"token {token} is outside the vocabulary of {self._n_vocab}")
        lib.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        """Free the chain. A second call does nothing."""
        chain, self._chain = self._chain, None
        if chain:
            lib.llama_sampler_free(chain)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
