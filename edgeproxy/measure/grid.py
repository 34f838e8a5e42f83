"""The settings that a sweep tries: values of one of the steering's numbers, or of several.

Values are a range, `0:2:0.2`, whose end belongs to it where a step falls on it, or a list,
`0.5,1,1.5`. Several numbers make a grid: each value with each.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure.systems import PROXY

MOST = 200
"""So many settings a sweep has at most."""

SWEPT = ("alpha", "base_weight", "plausibility")
"""The steering's numbers, which can be swept."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_FORM = "write a range START:STOP:STEP, as 0:2:0.2, or values with commas between, as 0.5,1,1.5"


@dataclass(frozen=True)
class Point:
    """A setting: its name among the systems of an evaluation, and the steering."""

    system: str
    steering: Steering


@dataclass(frozen=True)
class Grid:
    """The settings to try, in order, and what of the trio's `own` steering they change.

    `left_out` says of each combination that there is not why.
    """

    own: Steering
    swept: Mapping[str, tuple[float, ...]]
    points: tuple[Point, ...]
    left_out: tuple[str, ...]

    @property
    def systems(self) -> list[str]:
        """The systems to ask: the trio's own setting, which the others are compared with, too."""
        others = (point.system for point in self.points if point.system != PROXY)
        return [PROXY, *others]


def read_values(name: str, text: str) -> tuple[float, ...]:
    """The values of `name` that a range or a list asks for, each one once, at most `MOST`.

    They have six digits, as names of systems do. Raises `UsageError` for what is neither, for more,
    and for a value that the steering cannot have.
    """
    option = f"--{name.replace('_', '-')} {text[:60]}"
    parts = text.split(":")
    if len(parts) == 1:
        listed = text.split(",")
        _check_count(len(listed), option)
        found = [_number(each, option) for each in listed]
    elif len(parts) == 3:
        start, stop, step = (_number(each, option) for each in parts)
        found = _range(start, stop, step, option)
    else:
        raise UsageError(f"{option}: {_FORM}")
    values = tuple(dict.fromkeys(float(f"{value:.6g}") + 0.0 for value in found))
    for value in values:
        try:
            Steering().changed(_change({name: value}))
        except UsageError as error:
            raise UsageError(f"{option}: {error}") from None
    return values


def _number(text: str, option: str) -> Decimal:
    text = text.strip()
    # One that no float can hold is none either.
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise UsageError(f"{option}: {text[:60]!r} is no number; {_FORM}")
    return Decimal(text)


def _range(start: Decimal, stop: Decimal, step: Decimal, option: str) -> list[Decimal]:
    if float(step) <= 0.0:
        raise UsageError(f"{option}: the step must be above 0; {_FORM}")
    if stop < start:
        raise UsageError(f"{option}: it ends below where it starts; {_FORM}")
    steps = (stop - start) / step
    _check_count(steps + 1, option)
    return [start + n * step for n in range(int(steps) + 1)]


def _check_count(count: int | Decimal, option: str) -> None:
    """Raise `UsageError` where so many settings are too many; nothing was made of them yet."""
    if count >= MOST + 1:
        told = f"{int(count):,}" if count < 10**15 else "far too many"
        raise UsageError(
            f"{option}: that makes {told} settings, and a sweep has at most {MOST}: "
            "take larger steps or fewer values"
        )


def make_grid(own: Steering, swept: Mapping[str, Sequence[float]]) -> Grid:
    """Each value of each number with each of the others; all else is as in `own`.

    Raises `UsageError` where nothing is swept, for more than `MOST` settings, and where there is
    none of them (see `Steering`).
    """
    if not swept:
        raise UsageError(
            "say what to sweep, such as --alpha 0:2:0.2, --base-weight 0:1:0.25 or "
            "--plausibility 0,0.01,0.1"
        )
    names = [name for name in SWEPT if name in swept]
    options = " with ".join(f"--{name.replace('_', '-')}" for name in names)
    _check_count(math.prod(len(swept[name]) for name in names), options)
    points: list[Point] = []
    left_out: list[str] = []
    for values in itertools.product(*(swept[name] for name in names)):
        change = dict(zip(names, values, strict=True))
        try:
            steering = own.changed(_change(change))
        except UsageError as error:
            left_out.append(str(error))
            continue
        points.append(Point(PROXY if steering == own else _name(change), steering))
    if not points:
        raise UsageError(f"there is no such setting: {left_out[0]}")
    return Grid(own, {name: tuple(swept[name]) for name in names}, tuple(points), tuple(left_out))


def _change(values: Mapping[str, float]) -> Change:
    change: Change = {
        "alpha": values.get("alpha"),
        "base_weight": values.get("base_weight"),
        "plausibility": values.get("plausibility"),
    }
    return change


def _name(change: Mapping[str, float]) -> str:
    return "/".join([PROXY, *_parts(change)])


def _parts(change: Mapping[str, float]) -> Iterator[str]:
    yield from (f"{name}={value:g}" for name, value in change.items())


def in_words(steering: Mapping[str, object], swept: Sequence[str]) -> str:
    """What a setting has of what was swept: "alpha 0.5, base weight 1"."""
    return ", ".join(f"{name.replace('_', ' ')} {steering[name]:g}" for name in swept)
