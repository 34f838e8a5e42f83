"""How numbers are said to a person: 5.6 GB, 3 min 20 s."""

from __future__ import annotations


def in_units(size: int) -> str:
    """`size` bytes in the unit that a person would take."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def duration(seconds: float) -> str:
    """`seconds` as a person says it: two units at the most."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
