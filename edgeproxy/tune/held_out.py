"""The loss on examples that are not trained on, and when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.tune.batches import Batch, micro_batches, n_predicted, needed
from edgeproxy.tune.loss import Decoder, total_loss
from edgeproxy.tune.tokens import Tokens

_COST = 0.15
"""Evaluations take about this share of the time at the most."""
FORWARD_SHARE = 1 / 3
"""An evaluation of a token takes a third of its training: backward is twice a forward."""
_FEWEST = 64
"""So many held-out examples are looked at even where that costs more."""
_MOST_OFTEN, _STEPS_BETWEEN = 4, 20
"""Evaluations in an epoch at the most, and steps between two of them at least."""
_PATIENCE = 3


class HeldOut:
    """Held-out examples: all of them, or evenly chosen ones where all would take too long.

    `training_tokens` are what an epoch reads.
    """

    def __init__(
        self, examples: Sequence[Tokens], training_tokens: int, micro_tokens: int, n_vocab: int
    ) -> None:
        self._examples = examples
        self._micro_tokens = micro_tokens
        self._n_vocab = n_vocab
        usable = [n for n, example in enumerate(examples) if n_predicted(example)]
        lengths = {n: needed(examples[n]) for n in usable}
        cost = FORWARD_SHARE * sum(lengths.values())
        skipped = max(1, round(cost / (_COST * max(training_tokens, 1))))
        skipped = max(1, min(skipped, len(usable) // _FEWEST))
        self._chosen = usable[::skipped]
        self._lengths = lengths
        self.n_tokens = sum(lengths[n] for n in self._chosen)
        self._n_predicted = sum(n_predicted(examples[n]) for n in self._chosen)
        self._share = FORWARD_SHARE * self.n_tokens / max(training_tokens, 1)

    def __bool__(self) -> bool:
        return bool(self._chosen)

    def steps(self, per_epoch: int) -> set[int]:
        """After which steps of an epoch, from 1, the loss is looked at; the last is one."""
        if not self:
            return set()
        affordable = int(_COST / self._share) if self._share else _MOST_OFTEN
        count = max(1, min(_MOST_OFTEN, per_epoch // _STEPS_BETWEEN, affordable))
        return {per_epoch * (n + 1) // count for n in range(count)}

    def patience(self, per_epoch: int) -> int:
        """After how many evaluations without a better loss training ends: an epoch's at least."""
        return max(_PATIENCE, len(self.steps(per_epoch)))

    def loss(self, network: Decoder, look: Callable[[], None]) -> float:
        """The mean loss per predicted token, in nats. `look` is called now and then; it may raise.

        Raises `ZeroDivisionError` where there are no examples.
        """
        total = 0.0
        for places in micro_batches(self._chosen, self._lengths, self._micro_tokens):
            look()
            batch = Batch.of([self._examples[place] for place in places])
            total += total_loss(network, batch, self._n_vocab)
        return total / self._n_predicted
