"""Choosing a token from a row: settings, and llama.cpp's own sampler chain over the fused row."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from edgeproxy.core.check import number, whole
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import LogitsError, UsageError
from edgeproxy.llama import SamplerChain, Weights

LIKELIEST = 20.0
"""What a row's largest logit is taken to be where `repeat_penalty` divides logits.

That penalty divides logits above 0 and multiplies those below (Keskar et al., CTRL, 2019, and
llama.cpp), so it depends on where 0 is. Softmax does not: a server's log-probabilities have another
0 than the logits of the same model here. So one is chosen; large models' best are at 15 to 30.
"""

_MAX_SEED = 2**32 - 2  # 2**32 - 1 asks llama.cpp for a seed that it does not tell


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. The order of the chain is llama.cpp's: penalties, top-k, top-p, min-p,
    temperature, draw.

    - `temperature`: 0 takes the most probable token (greedy); above, tokens are drawn. They are
      drawn from the distribution as it is with temperature 1, top_k 0, top_p 1 and min_p 0 only.
    - `top_k` (0 is off), `top_p` (1 is off), `min_p` (0 is off): what to keep before drawing. All
      three are on unless they are switched off.
    - `repeat_penalty` (1 is off), `frequency_penalty`, `presence_penalty`: against repetition
      among the `repeat_last_n` last tokens of the reply. The first one divides logits, of which
      the row's largest is taken to be `LIKELIEST`.
    - `dry_multiplier` (0 is off), `dry_base`, `dry_allowed_length`, `dry_last_n`: DRY penalty.
    - `logit_bias`: added to the logits of these token ids.
    - `seed`: 0 to 2**32 - 2; None draws one, which `Sampler.seed` tells.

    Raises `UsageError` for impossible values.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_last_n: int = 512
    logit_bias: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None

    def __post_init__(self) -> None:
        number("temperature", self.temperature, 0.0, 100.0)
        whole("top_k", self.top_k, 0, 2**31 - 1)
        number("top_p", self.top_p, 0.0, 1.0)
        number("min_p", self.min_p, 0.0, 1.0)
        number("repeat_penalty", self.repeat_penalty, 0.01, 100.0)
        number("frequency_penalty", self.frequency_penalty, -100.0, 100.0)
        number("presence_penalty", self.presence_penalty, -100.0, 100.0)
        whole("repeat_last_n", self.repeat_last_n, 0, 1_000_000)
        number("dry_multiplier", self.dry_multiplier, 0.0, 100.0)
        number("dry_base", self.dry_base, 1.0, 100.0)
        whole("dry_allowed_length", self.dry_allowed_length, 1, 1_000_000)
        whole("dry_last_n", self.dry_last_n, 0, 1_000_000)
        if not isinstance(self.logit_bias, Mapping):
            raise UsageError(
                f"logit_bias must give numbers by token id, as {{5: 1.0}}, not {self.logit_bias!r}"
            )
        for token, bias in self.logit_bias.items():
            whole("a token of logit_bias", token)
            number(f"logit_bias of token {token}", bias, -1e6, 1e6)
        if self.seed is not None:
            whole("seed", self.seed, 0, _MAX_SEED)

    @property
    def penalises(self) -> bool:
        """Whether earlier tokens of the reply change the choice."""
        return (
            self.repeat_penalty != 1.0
            or self.frequency_penalty != 0.0
            or self.presence_penalty != 0.0
            or self.dry_multiplier > 0.0
        )


def draw_seed() -> int:
    """A seed by chance, for whoever must tell it before a `Sampler` would draw its own."""
    return secrets.randbelow(_MAX_SEED + 1)


class Sampler:
    """Draws token after token of one reply: `token = sampler(row)`, row of shape (n_vocab,).

    Each call also accepts its token, so one sampler serves one reply. DRY needs `weights`, whose
    tokenizer it uses. Raises `UsageError` for a biased token that is not in the vocabulary.
    """

    def __init__(self, vocab: Vocab, sampling: Sampling, weights: Weights | None = None) -> None:
        self.seed = draw_seed() if sampling.seed is None else sampling.seed
        for token in sampling.logit_bias:
            if not 0 <= token < len(vocab):
                raise UsageError(f"logit_bias names token {token}, but there are {len(vocab)}")
        if sampling.dry_multiplier > 0.0 and weights is None:
            raise UsageError("the DRY penalty needs a model's own tokenizer")
        greedy = sampling.temperature == 0.0
        plain = greedy and not sampling.penalises and not sampling.logit_bias
        self._chain = None if plain else SamplerChain(len(vocab))
        self._divides = sampling.repeat_penalty != 1.0
        if self._chain is not None:
            _build(self._chain, sampling, weights, self.seed)

    def __call__(self, row: Logits) -> int:
        """The chosen token. Raises `LogitsError` for a row without a usable number."""
        if self._chain is None:
            token = int(row.argmax())
            if not math.isfinite(row[token]):
                raise LogitsError("no token can be chosen: the logits are not numbers")
            return token
        token = self._chain.pick(_from_largest(row) if self._divides else row)
        self._chain.accept(token)
        return token

    def close(self) -> None:
        """Free llama.cpp's chain. A second call does nothing."""
        if self._chain is not None:
            self._chain.close()


def _from_largest(row: Logits) -> Logits:
    """A copy of `row`, moved so that its largest logit is `LIKELIEST`."""
    with np.errstate(invalid="ignore"):  # a row of no numbers is found out by the chain
        moved: Logits = row - row.max() + np.float32(LIKELIEST)
    return moved


def _build(chain: SamplerChain, s: Sampling, weights: Weights | None, seed: int) -> None:
    if s.logit_bias:
        chain.add_logit_bias(s.logit_bias)
    if s.penalises:
        chain.add_penalties(
            s.repeat_last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
        )
    if s.dry_multiplier > 0.0 and weights is not None:
        chain.add_dry(
            weights,
            s.dry_multiplier,
            s.dry_base,
            s.dry_allowed_length,
            s.dry_last_n,
            breakers=("\n", ":", '"', "*"),
        )
    if s.temperature == 0.0:
        chain.add_greedy()
        return
    if s.top_k > 0:
        chain.add_top_k(s.top_k)
    if s.top_p < 1.0:
        chain.add_top_p(s.top_p)
    if s.min_p > 0.0:
        chain.add_min_p(s.min_p)
    chain.add_temperature(s.temperature)
    chain.add_draw(seed)
