"""What a tuning is asked for, who hears of it, who can stop it, and what it gives back.

Nothing here needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproxy.tune.progress import Plan, Progress


@dataclass(frozen=True)
class Request:
    """What is to be tuned on what, and where the result goes.

    - `model`: the file that is tuned, the small one; with `is_direct` the large one.
    - `base`: the large model's file; without it there is an adapter and no trio.
    - `settings`: fields of `Settings` that were given, by name.
    - `n_ctx`: the longest example in tokens, 4,096 or what the model takes where that is None.
    - `docs`: an index of documents, in which passages are found for the examples.
    - `resume`: go on with what was cut short. `force`: whatever memory is free.
    """

    examples: Path
    model: Path
    folder: Path
    base: Path | None = None
    is_direct: bool = False
    validation: Path | None = None
    columns: tuple[str, str] | None = None
    skip_bad: bool = False
    prompt: str | None = None
    name: str | None = None
    n_ctx: int | None = None
    docs: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    force: bool = False


@dataclass(frozen=True)
class Tuned:
    """What came of it. `record` is what `tuning.json` says; `is_new` is False where it was there.

    `manifest` is the trio's, None where there is none.
    """

    folder: Path
    adapter: Path
    manifest: Path | None
    record: Mapping[str, Any]
    is_new: bool


class Watch:
    """Hears of a tuning as it goes; this one says nothing of it."""

    def noted(self, topic: str, what: str) -> None:
        """`what` is a fact about `topic`, a word."""

    def doing(self, what: str) -> None:
        """`what` is under way, in this very moment."""

    def heard(self, what: Plan | Progress) -> None:
        """As `train` tells."""


class Stop:
    """What Ctrl-C asks for: the first press ends training, the next one all work.

    A `Cancel`: set while there is a press that has not led to anything. A signal handler may press.
    """

    def __init__(self) -> None:
        self.presses = 0
        self._obeyed = 0

    def press(self) -> None:
        """Somebody wants it to stop."""
        self.presses += 1

    def is_set(self) -> bool:
        """Whether what is under way is to stop."""
        return self.presses > self._obeyed

    def obeyed(self) -> None:
        """One press has had its effect."""
        self._obeyed += 1
