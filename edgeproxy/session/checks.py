"""What a reply may be asked for, by who answers it, and what follows from who that is."""

from __future__ import annotations

from dataclasses import replace

from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.session.turn import Asked


def unmasked(asked: Asked) -> Asked:
    """The same without the mask, which is about what is drawn."""
    steering = asked.steering
    if steering is None:
        return asked
    return asked._replace(steering=replace(steering, plausibility=0.0))


def is_expert_alone(asked: Asked) -> bool:
    """Whether the steering of a reply leaves the say to the expert."""
    return asked.steering is not None and asked.steering.alone == "expert"


def check_three_speak(asked: Asked) -> None:
    """Raise `UsageError` where three models are to be recorded, and one of them answers."""
    if asked.record and is_expert_alone(asked):
        raise UsageError(
            "record is of three models, and with base_weight 0 the expert alone answers"
        )


def check_unrecorded(asked: Asked) -> None:
    """Raise `UsageError` where one model alone is to be recorded."""
    if asked.record:
        raise UsageError("record is for a trio, not one model alone")


def check_unsteered(steering: Steering | None, change: Change) -> None:
    """Raise `UsageError` where one model alone is to be steered."""
    if steering is not None or any(value is not None for value in change.values()):
        raise UsageError("steering is for a trio, not one model alone")
