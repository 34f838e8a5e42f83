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


_BAND, _ABOVE = 0.2, 1.08
"""How strong the band of a line alone is; the room above the fastest."""


class Panel(NamedTuple):
    """What of each setting one of the plots shows, in which unit, and its name."""

    key: str
    scale: float
    label: str


PANELS = (
    ACCURACY := Panel("accuracy", 100.0, "right, %"),
    CHANGED := Panel("changed", 100.0, "tokens changed, %"),
    SPEED := Panel("tokens_per_second", 1.0, "tokens/s"),
)

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

    with warnings.catch_warnings(), style.context(["default", _STYLE]):
        warnings.simplefilter("ignore")  # of letters in names that its font does not have
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2, 2)})
        panels = dict(zip(PANELS, axes, strict=True))
        lines = _draw_lines(panels, found)
        for panel, each in panels.items():
            _dress(each, panel, found)
        _scale_accuracy(panels[ACCURACY])
        _scale_changed(panels[CHANGED], found)
        panels[SPEED].set_ylim(0, _ABOVE * panels[SPEED].get_ylim()[1])
        _name_axis(panels[SPEED], found)
        panels[ACCURACY].set_title(_title(found), loc="left", fontsize=11, parse_math=False)
        _legend(figure, panels[ACCURACY], lines)
        figure.align_ylabels()
        _save(figure, path)


def _draw_lines(panels: Mapping[Panel, Axes], found: Mapping[str, Any]) -> int:
    """Draw each line in each panel; how many there are."""
    across, lines = lines_of(found)
    first = _FIRST_MARKER if len(lines) > 1 else _ONLY_MARKER
    styles = zip(lines, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)
    for number, (line, colour, marker, dash) in enumerate(styles):
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dash}
        # Smaller and thinner, so that lines in one place are all seen.
        size = max(_LAST_MARKER, first - number)
        look |= {"markersize": size, "linewidth": size / 3, "label": line.name}
        for panel, axes in panels.items():
            known = [each for each in line.settings if each[panel.key] is not None]
            values = [panel.scale * each[panel.key] for each in known]
            axes.plot([each[across] for each in known], values, **look)
        if len(lines) <= BANDS:
            strength = _BAND / len(lines) ** 0.5
            _draw_interval(panels[ACCURACY], across, line, colour, strength)
    return len(lines)


def _draw_interval(axes: Axes, across: str, line: Line, colour: str, strength: float) -> None:
    """The 95% interval as a band; of a single setting as a bar."""
    at = [each[across] for each in line.settings]
    low, high = ([100 * each["interval"][side] for each in line.settings] for side in (0, 1))
    if len(at) > 1:
        axes.fill_between(at, low, high, color=colour, alpha=strength, linewidth=0)
    else:
        axes.vlines(at, low, high, color=colour, alpha=0.5, linewidth=1.2)


def _dress(axes: Axes, panel: Panel, found: Mapping[str, Any]) -> None:
    """The panel's name and grid, and a ring around the trio's own setting."""
    axes.set_ylabel(panel.label)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    own, (across, _) = found["own"], lines_of(found)
    if own is not None and own[panel.key] is not None:
        axes.plot(
            [own[across]],
            [panel.scale * own[panel.key]],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=GREY,
            markeredgewidth=1.3,
            linestyle="none",
            label="the trio's own setting",
        )
    if all(each[panel.key] is None for each in found["settings"]):
        axes.set_yticks([])
        axes.text(0.5, 0.6, "not known", transform=axes.transAxes, ha="center", color=GREY)


def _scale_accuracy(axes: Axes) -> None:
    axes.set_ylim(-4, 106)
    axes.set_yticks(range(0, 101, 20))


def _scale_changed(axes: Axes, found: Mapping[str, Any]) -> None:
    """From 0 to beyond what is usual, which is shaded."""
    most = max((each["changed"] or 0.0 for each in found["settings"]), default=0.0)
    axes.set_ylim(-2, min(103, max(_LEAST_SCALE, 110 * most)))
    low, high = (100 * share for share in USUAL)
    axes.axhspan(low, high, color="#cccccc", alpha=0.5, linewidth=0, zorder=0)
    axes.annotate(
        f"usual: {USUALLY}",
        (1, (low + high) / 2),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        color=GREY,
    )


def _name_axis(axes: Axes, found: Mapping[str, Any]) -> None:
    across, _ = lines_of(found)
    axes.set_xlabel(across.replace("_", " "))
    if len(found["swept"][across]) <= _TICKS:
        axes.set_xticks(found["swept"][across])
        axes.xaxis.set_major_formatter("{x:g}")


def _title(found: Mapping[str, Any]) -> str:
    # XML has no place for what is not printable.
    name = "".join(c if c.isprintable() else "?" for c in found["trio"])
    n = found["questions"]
    return f"{name}: {n} question{'s' * (n != 1)}"


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else None
    try:
        with replacing(path) as file:
            figure.savefig(file, format=kind, dpi=_DOTS, metadata=metadata)
    except OSError as error:
        raise EdgeproxyError(f"{path}: {reason(error)}; the plot was not drawn") from None


def _legend(figure: Figure, axes: Axes, lines: int) -> None:
    """Below all: what the lines are, the ring, and the bands. A line alone needs no name."""
    from matplotlib.patches import Patch

    handles, names = axes.get_legend_handles_labels()
    if lines <= BANDS:
        colour = COLOURS[0] if lines == 1 else GREY
        handles.append(Patch(color=colour, alpha=_BAND, linewidth=0))
        names.append("95% interval")
    named = [pair for pair in zip(handles, names, strict=True) if pair[1]]
    if named:
        handles, names = map(list, zip(*named, strict=True))
        columns = 3 if max(map(len, names)) < _SHORT else 2
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
        )
