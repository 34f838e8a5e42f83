"""Which examples go through the network together, and in which order.

The order of an epoch follows from the seed and the epoch's number alone, so a tuning can go on
after a kill without any generator's state.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from edgeproxy.tune.tokens import Tokens

_POOL = 8
"""Steps whose examples are sorted by length among each other: little padding, and still mixed."""


def needed(tokens: Tokens) -> int:
    """How many tokens of an example the network must read: those before the last that it predicts.

    0 where nothing is predicted: there is no reply, or nothing before it.
    """
    replies = np.flatnonzero(tokens.is_reply)
    return int(replies[-1]) if len(replies) else 0


def n_predicted(tokens: Tokens) -> int:
    """How many tokens of an example are predicted; the first one of a text never is."""
    return int(np.count_nonzero(tokens.is_reply[1:]))


def epoch_steps(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The examples of each step of an epoch, by their places in `lengths`.

    Each example is in one step. A step has `batch` of them or, so that none is much smaller, a few
    less; they are of similar lengths, and steps of all lengths are mixed.
    """
    chance = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    n_steps = -(-len(order) // batch)
    bounds = [len(order) * i // n_steps for i in range(n_steps + 1)]
    for start in range(0, n_steps, _POOL):
        low, high = bounds[start], bounds[min(start + _POOL, n_steps)]
        order[low:high] = sorted(order[low:high], key=lambda i: lengths[i])
    steps = [order[low:high] for low, high in pairwise(bounds)]
    chance.shuffle(steps)
    return steps


class Order:
    """Which examples each step of a training is of: those of `training` that predict something.

    `lengths` are the tokens that each needs, and `predicted` those that it predicts, by its place
    in `training`.
    """

    def __init__(self, training: Sequence[Tokens], batch: int, seed: int) -> None:
        self._batch, self._seed = batch, seed
        lengths = {n: needed(tokens) for n, tokens in enumerate(training)}
        self.lengths = {n: length for n, length in lengths.items() if length}
        self.predicted = {n: n_predicted(training[n]) for n in self.lengths}
        self._usable = list(self.lengths)
        self.per_epoch = -(-len(self._usable) // batch)
        self._epoch = -1
        self._steps: list[list[int]] = []

    @property
    def n_tokens(self) -> int:
        """How many tokens an epoch reads."""
        return sum(self.lengths.values())

    def step(self, step: int) -> list[int]:
        """The examples of a step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            lengths = [self.lengths[n] for n in self._usable]
            self._steps = epoch_steps(lengths, self._batch, self._seed, epoch)
            self._epoch = epoch
        return [self._usable[n] for n in self._steps[place]]

    def typical(self, max_tokens: int) -> list[int]:
        """Examples of middling length, as many as have `max_tokens` tokens with padding, or one."""
        ranked = sorted(self._usable, key=lambda n: self.lengths[n])
        middle = len(ranked) // 2
        return next(micro_batches(ranked[middle::-1], self.lengths, max_tokens))


def micro_batches(
    examples: Iterable[int], lengths: Sequence[int] | Mapping[int, int], max_tokens: int
) -> Iterator[list[int]]:
    """Cut `examples` into as many as go through the network at once, the longest first.

    Each has at most `max_tokens` tokens with its padding, or is one example.
    """
    micro: list[int] = []
    longest = 0
    for example in sorted(examples, key=lambda i: (-lengths[i], i)):
        if micro and (len(micro) + 1) * longest > max_tokens:
            yield micro
            micro = []
        longest = longest if micro else lengths[example]
        micro.append(example)
    if micro:
        yield micro


@dataclass(frozen=True, eq=False)
class Batch:
    """What goes through the network at once, and what is to be predicted from it.

    - `tokens`: int64, shape (examples, length), zeros after an example's end.
    - `places`: int64, shape (n,), places in the flattened hidden states that predict a token.
    - `targets`: int64, shape (n,), the tokens that they predict.
    - `n_read`: how many of `tokens` are no padding.
    """

    tokens: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    n_read: int

    @classmethod
    def of(cls, examples: Sequence[Tokens]) -> Batch:
        """The batch of `examples`, in their order; what stands after the last reply is left out."""
        lengths = [needed(example) for example in examples]
        tokens = np.zeros((len(examples), max(lengths)), np.int64)
        places, targets = [], []
        for row, (example, length) in enumerate(zip(examples, lengths, strict=True)):
            tokens[row, :length] = example.ids[:length]
            predicted = np.flatnonzero(example.is_reply[1:])
            places.append(row * tokens.shape[1] + predicted)
            targets.append(example.ids[predicted + 1].astype(np.int64))
        return cls(
            torch.from_numpy(tokens),
            torch.from_numpy(np.concatenate(places)),
            torch.from_numpy(np.concatenate(targets)),
            sum(lengths),
        )
