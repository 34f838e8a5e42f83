"""How a trio is steered: the few numbers that say what becomes of the three models' rows.

    fused = w * base + alpha * (expert - w * anti_expert), and then the mask

With `base_weight` w = 1 it is proxy-tuning as published (see `fuse`), with w = 0 and alpha = 1 the
expert alone: between them expert + w * (base - anti_expert) says how much of what only the base
knows is added to what the expert says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from edgeproxy.core.check import is_number
from edgeproxy.errors import UsageError

Alone = Literal["expert", "base"]
"""The models that a steering may leave the say to."""


class Change(TypedDict, total=False):
    """Some fields of a `Steering`; None leaves one as it is."""

    alpha: float | None
    base_weight: float | None
    plausibility: float | None
    expert_ends: bool | None


@dataclass(frozen=True)
class Steering:
    """The weights of the models, and the mask's beta.

    `alpha`, any finite number, is the weight of the pair's opinion; `base_weight`, 0 to 1, that of
    what base and anti-expert say; `plausibility`, 0 (off) to 1, drops tokens that the expert gives
    less than so many times its best one's probability. With `expert_ends` the expert alone says
    where a reply ends (see `ending`).

    With `base_weight` below 1 the expert counts for itself: an alpha of 0 or less would choose what
    it finds least likely. With `base_weight` 0 it is the expert alone, which has no use for an
    alpha other than 1; with an `alpha` of 0 the base alone, which has no use for the mask. Raises
    `UsageError` for the former two, and for values out of range.
    """

    alpha: float = 1.0
    base_weight: float = 1.0
    plausibility: float = 0.0
    expert_ends: bool = False

    def __post_init__(self) -> None:
        if not is_number(self.alpha) or not math.isfinite(self.alpha):
            raise UsageError(f"alpha must be a finite number, not {self.alpha!r}; the paper uses 1")
        _check_share("base_weight", self.base_weight, "0 (the expert alone) and 1 (the paper)")
        _check_share("plausibility", self.plausibility, "0 (off) and 1")
        if not isinstance(self.expert_ends, bool):
            raise UsageError(f"expert_ends must be true or false, not {self.expert_ends!r}")
        if self.base_weight == 0.0 and self.alpha != 1.0:
            raise UsageError(
                "base_weight 0 is the expert alone: it goes with alpha 1, "
                f"not with alpha {self.alpha:g}"
            )
        if self.alpha <= 0.0 and self.base_weight != 1.0:
            raise UsageError(
                f"alpha {self.alpha:g} goes with base_weight 1, "
                f"not with base_weight {self.base_weight:g}"
            )

    @property
    def alone(self) -> Alone | None:
        """The only model that has a say; None where there are several."""
        if self.base_weight == 0.0:
            return "expert"
        return "base" if self.alpha == 0.0 else None

    def changed(self, change: Change) -> Steering:
        """This steering with some of its fields changed. Raises `UsageError`."""
        given: dict[str, Any] = {k: value for k, value in change.items() if value is not None}
        return replace(self, **given)


def _check_share(name: str, value: object, bounds: str) -> None:
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} must be between {bounds}, not {value!r}")


PAPER = Steering()
"""As the paper has it."""

EXPERT_ALONE = Steering(base_weight=0.0)

BASE_ALONE = Steering(alpha=0.0)
