"""What three models have read, and their states: taken out of them, and put back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from edgeproxy.core.model import Model, Saving


class Holding:
    """The part of `Trio` that lets its states be kept elsewhere."""

    _read: tuple[list[int], list[int], list[int]]

    @property
    def models(self) -> tuple[Model, Model, Model]:
        """Base, expert, anti-expert."""
        raise NotImplementedError

    def _restore(self, lengths: Sequence[int]) -> None:
        raise NotImplementedError

    @property
    def saving(self) -> tuple[Saving, Saving, Saving]:
        """The three, for their states; those that llama.cpp evaluates have them."""
        base, expert, anti_expert = (cast(Saving, model) for model in self.models)
        return base, expert, anti_expert

    @property
    def held(self) -> tuple[list[int], list[int], list[int]]:
        """What each of the three has read and not forgotten; copies."""
        base, expert, anti_expert = (list(read) for read in self._read)
        return base, expert, anti_expert

    def settle(self) -> None:
        """Have the models hold just what they have all read, so that their states are of that.

        A reply that is under way must not go on after it. Raises `EngineError` where the three were
        out of step, and have forgotten everything.
        """
        self._restore([len(read) for read in self._read])

    def adopt(self, tokens: Sequence[Sequence[int]], states: Iterable[memoryview]) -> None:
        """Hold `tokens`, in place of what was read, as each role's state has them (see `Saving`).

        Whatever fails, also in giving the states, the three have read nothing then.
        """
        self._restore([0, 0, 0])
        try:
            for model, read, share, state in zip(
                self.saving, self._read, tokens, states, strict=True
            ):
                read.extend(share)
                model.adopt(share, state)
        except BaseException:
            self._restore([0, 0, 0])
            raise
