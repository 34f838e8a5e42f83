"""The expert alone, speaking for a trio whose base has no weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Model
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.remembering import Remembering
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import Format
from edgeproxy.session.floor import Floor
from edgeproxy.session.speaker import GREEDY, SoloSpeaker
from edgeproxy.session.turn import Asked, Recorder

EXPERT_ALONE = Steering(base_weight=0.0)


class ExpertSpeaker(SoloSpeaker):
    """The expert, which answers what a trio was asked, in its own vocabulary.

    It goes on from what it has read of the same conversation. `steering` may have another mask, but
    not give the base any weight.
    """

    def __init__(
        self,
        model: Model,
        layout: Format,
        floor: Floor | None = None,
        weights: Weights | None = None,
        sampling: Sampling = GREEDY,
    ) -> None:
        self._memory = Remembering(model)
        super().__init__(self._memory, layout, floor, weights, sampling)
        self.steering = EXPERT_ALONE

    @property
    def steering(self) -> Steering:
        """That of replies that do not ask for another one."""
        return self._steering

    @steering.setter
    def steering(self, value: Steering) -> None:
        self._steering = _check(value)

    def begin(self, asked: Asked, cancel: Cancel, record: Recorder) -> Iterator[Piece]:
        """As `Speaker.begin`, with the mask."""
        # Over the expert's own row the mask is what min-p is: both drop the same tokens.
        mask = (asked.steering or self.steering).plausibility
        sampling = replace(asked.sampling, min_p=max(asked.sampling.min_p, mask))
        yield from super().begin(asked._replace(sampling=sampling), cancel, record)

    def _resume(self, prompt: Sequence[int]) -> Sequence[int]:
        return self._memory.resume(prompt)

    def _steered(self, steering: Steering | None, change: Change) -> Steering:
        return _check((steering or self.steering).changed(change))


def _check(steering: Steering) -> Steering:
    if not steering.is_expert_alone:
        raise UsageError(
            f"base_weight {steering.base_weight:g} needs the base, and with base_weight 0 only the "
            "expert was loaded: load the trio with this base_weight"
        )
    return steering
