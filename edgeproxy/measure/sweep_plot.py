"""What a sweep found, drawn: accuracy with its interval, below it the changed share and the speed.

May touch: the file that it is asked to write.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.explain.verdict import USUAL, USUALLY
from edgeproxy.files import reason, replacing
from edgeproxy.measure.grid import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
INSTALL = "pip install 'edgeproxy[plot]'"

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
"""Okabe and Ito's (2008), which the colour-blind tell apart; those too light on paper left out."""

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Each line has a marker and a dash of its own as well, for print without colours."""

GREY = "#595959"
BANDS = 3
"""Intervals of more lines than this would hide each other."""

_SIZE, _DOTS = (6.4, 7.2), 200
_LEAST_SCALE = 40.0
"""The scale of changed tokens goes to so many percent at least, beyond what is usual."""
_TICKS = 11
"""So many values are all written at the axis."""
_FIRST_MARKER, _ONLY_MARKER, _LAST_MARKER = 7.0, 4.5, 3.0
_SHORT = 26
"""Three names of fewer letters stand beside each other."""
_NAMES = {"alpha": "alpha", "base_weight": "base weight", "plausibility": "plausibility"}


_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A file of the same figures is the same file.
    "svg.hashsalt": "edgeproxy",
}


class Line(NamedTuple):
    """The settings along one number that are alike in all else; `name` says in what."""

    name: str
    settings: Sequence[Mapping[str, Any]]


def check_plot(path: Path, others: Sequence[Path | None]) -> None:
    """See that a plot can be drawn to `path` before minutes are spent on what it shows.

    Raises `UsageError` for a name that is none of `FORMATS`, for a file that cannot be written or
    is one of `others`, and with the command to type where matplotlib is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a plot is drawn to a file whose name ends in .png or .svg")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: this is no regular file; name another file for the plot")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path}: nothing can be written to that folder; name another file")
    for other in others:
        if other is not None and path.resolve() == other.resolve():
            raise UsageError(f"{path}: the plot would overwrite that; name another file")
    try:
        import_module("matplotlib.figure")
    except ModuleNotFoundError:
        raise UsageError(
            f"--plot draws with matplotlib, which is not installed: {INSTALL}"
        ) from None
    except (ImportError, OSError) as error:
        raise UsageError(
            f"--plot draws with matplotlib, which cannot be loaded ({error}): {INSTALL}"
        ) from None


def lines_of(found: Mapping[str, Any]) -> tuple[str, list[Line]]:
    """What the plot's horizontal axis is, and its lines.

    The axis is the number with the most values, each combination of the others a line.
    """
    swept: Mapping[str, Sequence[float]] = found["swept"]
    across = max(swept, key=lambda name: len(swept[name]))
    others = [name for name in swept if name != across]
    grouped: dict[tuple[float, ...], list[Mapping[str, Any]]] = {}
    for each in found["settings"]:
        grouped.setdefault(tuple(each[name] for name in others), []).append(each)
    return across, [
        Line(in_words(group[0], others), sorted(group, key=lambda each: float(each[across])))
        for _, group in sorted(grouped.items())
    ]


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw a sweep's report to `path`. Raises `EdgeproxyError` where the disk refuses."""
    from matplotlib import style
    from matplotlib.figure import Figure

    across, lines = lines_of(found)
    own = found["own"]
    with warnings.catch_warnings(), style.context(["default", _STYLE]):
        warnings.simplefilter("ignore")  # of letters in names that its font does not have
        figure = Figure(figsize=_SIZE, layout="constrained")
        accuracy, changed, speed = figure.subplots(
            3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2, 2)}
        )
        styles = zip(lines, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)
        for number, (line, colour, marker, dash) in enumerate(styles):
            look: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "linestyle": dash,
                "label": line.name,
            }
            # Thinner and thinner, so that lines in one place are all seen.
            first = _FIRST_MARKER if len(lines) > 1 else _ONLY_MARKER
            size = max(_LAST_MARKER, first - number)
            look |= {"markersize": size, "linewidth": size / 3}
            _draw_line(accuracy, across, line, "accuracy", 100.0, look)
            _draw_line(changed, across, line, "changed", 100.0, look)
            _draw_line(speed, across, line, "tokens_per_second", 1.0, look)
            if len(lines) <= BANDS:
                _draw_interval(accuracy, across, line, colour, 0.2 / len(lines) ** 0.5)
        for axes, key, scale in (
            (accuracy, "accuracy", 100.0),
            (changed, "changed", 100.0),
            (speed, "tokens_per_second", 1.0),
        ):
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            if own is not None and own[key] is not None:
                _mark_own(axes, own[across], scale * own[key])
        n = found["questions"]
        accuracy.set_ylabel("right, %")
        accuracy.set_ylim(-4, 106)
        accuracy.set_yticks(range(0, 101, 20))
        if len(found["swept"][across]) <= _TICKS:
            speed.set_xticks(found["swept"][across])
            speed.xaxis.set_major_formatter("{x:g}")
        changed.set_ylabel("tokens changed, %")
        most = max((each["changed"] or 0.0 for each in found["settings"]), default=0.0)
        changed.set_ylim(-2, min(103, max(_LEAST_SCALE, 110 * most)))
        low, high = (100 * share for share in USUAL)
        changed.axhspan(low, high, color="#cccccc", alpha=0.5, linewidth=0, zorder=0)
        changed.annotate(
            f"usual: {USUALLY}",
            (1, (low + high) / 2),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8,
            color=GREY,
            xytext=(-2, 0),
            textcoords="offset points",
        )
        for axes, key in ((changed, "changed"), (speed, "tokens_per_second")):
            if all(each[key] is None for each in found["settings"]):
                axes.set_yticks([])
                axes.text(0.5, 0.6, "not known", transform=axes.transAxes, ha="center", color=GREY)
        speed.set_ylabel("tokens/s")
        speed.set_ylim(0, 1.08 * speed.get_ylim()[1])
        speed.set_xlabel(_NAMES[across])
        # XML has no place for what is not printable.
        name = "".join(c if c.isprintable() else "?" for c in found["trio"])
        title = f"{name}: {n} question{'s' * (n != 1)}"
        accuracy.set_title(title, loc="left", fontsize=11, parse_math=False)
        _legend(figure, accuracy, has_bands=len(lines) <= BANDS)
        figure.align_ylabels()
        try:
            with replacing(path) as file:
                kind = path.suffix.lower().removeprefix(".")
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(file, format=kind, dpi=_DOTS, metadata=metadata)
        except OSError as error:
            raise EdgeproxyError(f"{path}: {reason(error)}; the plot was not drawn") from None


def _draw_line(
    axes: Axes, across: str, line: Line, key: str, scale: float, look: Mapping[str, Any]
) -> None:
    known = [each for each in line.settings if each[key] is not None]
    axes.plot(
        [each[across] for each in known],
        [scale * each[key] for each in known],
        **look,
    )


def _draw_interval(axes: Axes, across: str, line: Line, colour: str, strength: float) -> None:
    """The 95% interval as a band; of a single setting as a bar."""
    at = [each[across] for each in line.settings]
    low, high = ([100 * each["interval"][side] for each in line.settings] for side in (0, 1))
    if len(at) > 1:
        axes.fill_between(at, low, high, color=colour, alpha=strength, linewidth=0)
    else:
        axes.vlines(at, low, high, color=colour, alpha=0.5, linewidth=1.2)


def _mark_own(axes: Axes, at: float, value: float) -> None:
    axes.plot(
        [at],
        [value],
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=GREY,
        markeredgewidth=1.3,
        linestyle="none",
        label="the trio's own setting",
    )


def _legend(figure: Figure, axes: Axes, *, has_bands: bool) -> None:
    """Below all: what the lines are, the ring, and the bands. A line alone needs no name."""
    from matplotlib.patches import Patch

    handles, names = axes.get_legend_handles_labels()
    if has_bands:
        handles.append(Patch(color=GREY, alpha=0.2, linewidth=0))
        names.append("95% interval")
    named = [pair for pair in zip(handles, names, strict=True) if pair[1]]
    if named:
        handles, names = map(list, zip(*named, strict=True))
        columns = 3 if max(map(len, names)) < _SHORT else 2
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
        )
