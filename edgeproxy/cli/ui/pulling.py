"""What a person sees of a pull while it lasts. Imports the hub's library.

May touch: standard error.
"""

from __future__ import annotations

from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.cli.ui.progress import Rate
from edgeproxy.trios.pull import Watch
from edgeproxy.units import in_units

_PATIENCE = 0.2  # seconds; what a connection does is of interest at once
_ORIGINS = {"cache": "from the hub's cache", "store": "was here already"}


class Shown(Watch):
    """A line that is written over, and one that stays for each file that has come."""

    def __init__(self) -> None:
        self._status = StatusLine(_PATIENCE)
        self._rates: dict[str, Rate] = {}

    def moved(self, file: str, done: int, size: int) -> None:
        """As `Watch.moved`."""
        rate = self._rates.setdefault(file, Rate())
        self._status.show(f"{file}: {rate.in_words(done, size)}")

    def checking(self, file: str, done: int, size: int) -> None:
        """As `Watch.checking`."""
        self._status.show(f"{file}: checking what is here, {done / size:.0%}")

    def waiting(self, file: str, why: str) -> None:
        """As `Watch.waiting`."""
        self._status.show(f"{file}: {why}")

    def noted(self, what: str) -> None:
        """As `Watch.noted`."""
        self.clear()
        say(what)

    def finished(self, file: str, size: int, where: str) -> None:
        """As `Watch.finished`."""
        rate = self._rates.get(file)
        took = f" in {rate.took()}" if rate else ""
        self.noted(f"{file}: {in_units(size)}, {_ORIGINS.get(where) or f'from the hub{took}'}")

    def clear(self) -> None:
        """Wipe the line that is written over."""
        self._status.clear()
