"""What a person sees of a tuning while it lasts.

May touch: standard error.
"""

from __future__ import annotations

from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.tune.progress import Plan, Progress
from edgeproxy.tune.request import Watch
from edgeproxy.units import duration

_PATIENCE = 0.2  # seconds
_WIDTH = 9


class Shown(Watch):
    """Lines that stay, with their topic before them, and one that is written over.

    `quiet` leaves out those that stay, bar warnings.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._status = StatusLine(_PATIENCE)
        self._quiet = quiet
        self._topic = ""
        self._evaluated: float | None = None

    def noted(self, topic: str, what: str) -> None:
        """As `Watch.noted`."""
        self.clear()
        if topic == "warning":
            say(f"warning: {what}")
        elif not self._quiet:
            say(f"{topic if topic != self._topic else '':<{_WIDTH}} {what}")
        self._topic = topic

    def doing(self, what: str) -> None:
        """As `Watch.doing`."""
        self._status.show(what)

    def heard(self, what: Plan | Progress) -> None:
        """As `Watch.heard`: what is planned, and each new held-out loss, stay to be read."""
        from edgeproxy.tune import words

        if isinstance(what, Plan):
            self.noted("speed", words.of_plan(what))
            return
        if what.held_out_loss is not None and what.held_out_loss != self._evaluated:
            self._evaluated = what.held_out_loss
            done = f"step {what.step:,} of {what.steps:,}, epoch {what.epoch} of {what.epochs}"
            loss = f"held-out loss {what.held_out_loss:.3f}"
            self.noted("training", f"{loss} after {done}" if what.step else f"{loss} before")
        self.doing(_in_words(what))

    def clear(self) -> None:
        """Wipe the line that is written over."""
        self._status.clear()


def _in_words(at: Progress) -> str:
    held_out = "" if at.best_loss is None else f", held-out {at.best_loss:.3f} at best"
    return (
        f"step {at.step:,} of {at.steps:,}, {at.step / max(at.steps, 1):.0%}: "
        f"loss {at.loss:.3f}{held_out}, {at.tokens_per_second:,.0f} tokens/s, "
        f"{duration(at.seconds_left)} left"
    )
