"""One model alone, speaking for a trio whose steering gives the others no say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Model
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.remembering import Remembering
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Alone, Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import Format
from edgeproxy.remote.model import RemoteModel
from edgeproxy.session.floor import Floor
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.reading import Reading
from edgeproxy.session.speaker import GREEDY, SoloSpeaker
from edgeproxy.session.turn import Asked, Recorder


class AloneSpeaker(SoloSpeaker):
    """The expert or the base, which answers what a trio was asked, in its own vocabulary.

    It goes on from what it has read of the same conversation. `steering` leaves the say to `role`
    alone, and may be changed for one that does so too. Raises `UsageError` for any other.
    """

    role: Alone

    def __init__(
        self,
        role: Alone,
        steering: Steering,
        model: Model,
        layout: Format,
        floor: Floor | None = None,
        weights: Weights | None = None,
        sampling: Sampling = GREEDY,
        reading: Reading | None = None,
    ) -> None:
        self._memory = Remembering(model)
        super().__init__(self._memory, layout, floor, weights, sampling, reading, role)
        self.remote = model if isinstance(model, RemoteModel) else None
        self.steering = steering

    @property
    def steering(self) -> Steering:
        """That of replies that do not ask for another one."""
        return self._steering

    @steering.setter
    def steering(self, value: Steering) -> None:
        self._steering = self._checked(value)

    def begin(
        self,
        asked: Asked,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None = None,
    ) -> Iterator[Piece]:
        """As `Speaker.begin`, with the expert's mask."""
        if self.role == "expert":
            # Over the expert's own row the mask is what min-p is: both drop the same tokens.
            mask = (asked.steering or self.steering).plausibility
            sampling = replace(asked.sampling, min_p=max(asked.sampling.min_p, mask))
            asked = asked._replace(sampling=sampling)
        yield from super().begin(asked, cancel, record, progress)

    def _resume(self, prompt: Sequence[int]) -> Sequence[int]:
        return self._memory.resume(prompt)

    def _steered(self, steering: Steering | None, change: Change) -> Steering:
        return self._checked((steering or self.steering).changed(change))

    def _checked(self, steering: Steering) -> Steering:
        return check_alone(steering, self.role)


def check_alone(steering: Steering, role: Alone) -> Steering:
    """`steering` itself. Raises `UsageError` where it gives others than `role` a say."""
    if steering.alone != role:
        raise UsageError(
            f"alpha {steering.alpha:g} with base_weight {steering.base_weight:g} needs more "
            f"models, and only the {role} was loaded: load the trio with these"
        )
    return steering
