"""What a sweep found: of each setting how often it is right, how much the pair changes, how fast.

Each setting is compared with the trio's own in pairs, by the questions that both have answered.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeproxy.measure.compare import SIGNIFICANT, compare, p_in_words
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.grid import Grid, Point, in_words
from edgeproxy.measure.report import share
from edgeproxy.measure.systems import PROXY
from edgeproxy.measure.took import Took

Asked = tuple[str, int]
"""A system, and the number of a question."""


def sweep_report(
    grid: Grid,
    questions: Sequence[Question],
    replies: Mapping[Asked, str],
    took: Mapping[Asked, Took],
) -> dict[str, Any]:
    """The figures of all settings that have answered, as JSON has them; see `docs/json.md`.

    `replies` may be those of some questions only, where the sweep was cut short.
    """
    right: dict[str, dict[int, bool]] = {}
    for (system, number), text in replies.items():
        right.setdefault(system, {})[number] = questions[number].verdict(text).right
    points = [point for point in grid.points if right.get(point.system)]
    own = Point(PROXY, grid.own)
    of_own = {"own": _setting(own, right, took) if right.get(PROXY) else None}
    return {
        **asdict(grid.own),
        "questions": len(questions),
        "swept": {name: list(values) for name, values in grid.swept.items()},
        **of_own,
        "settings": [_setting(point, right, took) for point in points],
        "left_out": list(grid.left_out),
    }


def _setting(
    point: Point, right: Mapping[str, Mapping[int, bool]], took: Mapping[Asked, Took]
) -> dict[str, Any]:
    mine = right[point.system]
    lengths = [t for number in mine if (t := took.get((point.system, number))) is not None]
    rates = [t.tokens_per_second for t in lengths if t.tokens_per_second is not None]
    changed = [t.changed for t in lengths if t.changed is not None]
    of = sum(each.of for each in changed)
    return {
        **asdict(point.steering),
        "system": point.system,
        **share(list(mine.values())),
        "changed": sum(each.tokens for each in changed) / of if of else None,
        "tokens": sum(t.tokens for t in lengths) / len(lengths) if lengths else None,
        "tokens_per_second": statistics.median(rates) if rates else None,
        "against_own": None if point.system == PROXY else _compared(mine, right.get(PROXY, {})),
    }


def _compared(mine: Mapping[int, bool], own: Mapping[int, bool]) -> dict[str, Any] | None:
    """A setting beside the trio's own; None where no question was asked of both."""
    both = [number for number in mine if number in own]
    if not both:
        return None
    found = compare("it", [mine[n] for n in both], "own", [own[n] for n in both])
    return {
        "n": found.n,
        "only_it": found.only_one,
        "only_own": found.only_other,
        "p": found.p,
        "better": found.better,
    }


def verdict(found: Mapping[str, Any]) -> list[str]:
    """What the figures say, in a few sentences."""
    compared = [each for each in found["settings"] if each["against_own"] is not None]
    if not compared:
        return []
    better = [each for each in compared if each["against_own"]["better"] == "it"]
    worse = [each for each in compared if each["against_own"]["better"] == "own"]
    said = []
    if better:
        said.append(f"Better than the trio's own setting: {_named(better, found)}.")
    else:
        others = f"None of the {len(compared)} other settings is"
        if len(compared) == 1:
            others = "The other setting is not"
        said.append(f"{others} better than the trio's own, as far as these questions can show.")
    if worse:
        said.append(f"Worse: {_named(worse, found)}.")
    if better and len(compared) > 1:
        said.append(
            f"Of {len(compared)} comparisons about one in {round(1 / SIGNIFICANT)} looks so by "
            "chance: ask other questions before you choose by it."
        )
    return said


_NAMED = 6
"""So many settings are named in a sentence; more are counted."""


def _named(settings: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    names = [
        f"{in_words(each, list(found['swept']))} ({p_in_words(each['against_own']['p'])})"
        for each in settings
    ]
    more = len(names) - _NAMED
    return "; ".join([*names[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
