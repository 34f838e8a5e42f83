"""What was measured, as the tables of the README: Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproxy.units import duration
from tools.tasks.measure import Record, read_record
from tools.tasks.rows import ROWS, Row

_MISSING = "-"
_HEAD = (
    "task and models",
    "examples, tuning",
    "base (in its own words)",
    "expert alone",
    "proxy (paper)",
    "proxy as `fit` chose",
    "tuned directly",
    "what `fit` says",
)
_HEAD_DIRECT = (
    "tuned directly",
    "examples, tuning",
    "base",
    "proxy",
    "tuned",
    "gap closed",
    "general: base",
    "kept by proxy",
    "kept by tuned",
)


def table(folder: Path) -> str:
    """All that is in `folder`; a dash stands where nothing was measured.

    Raises `UsageError` for a damaged record.
    """
    records = {
        name: {step: read_record(folder, row, step) for step in row.steps}
        for name, row in ROWS.items()
    }
    plain = [row for row in ROWS.values() if not row.is_direct and any(records[row.name].values())]
    direct = [row for row in ROWS.values() if row.is_direct and any(records[row.name].values())]
    lines = _markdown(
        _HEAD, [_cells(row, records[row.name], _tuned(row, records)) for row in plain]
    )
    if direct:
        cells = [_direct_cells(row, records[row.name]) for row in direct]
        lines += ["", *_markdown(_HEAD_DIRECT, cells)]
    return "\n".join([*lines, "", *_footer(records)])


def share(figures: Mapping[str, Any] | None, key: str = "accuracy") -> str:
    """A share with its 95% interval, in percent: 55% [48, 62]."""
    if figures is None or figures.get(key) is None:
        return _MISSING
    low, high = figures["interval" if key == "accuracy" else f"{key}_interval"]
    return f"{figures[key]:.0%} [{100 * low:.0f}, {100 * high:.0f}]"


def _tuned(row: Row, records: Mapping[str, Mapping[str, Record | None]]) -> Mapping[str, Any]:
    """The figures of the same base, tuned directly on the same task; empty where there are none."""
    for other in ROWS.values():
        record = records[other.name].get("eval")
        if record and other.is_direct and (other.task, other.base) == (row.task, row.base):
            return dict(record["found"]["systems"]["tuned"])
    return {}


def _cells(
    row: Row, steps: Mapping[str, Record | None], tuned: Mapping[str, Any]
) -> tuple[str, ...]:
    evaluated, fitted = steps["eval"], steps["fit"]
    found = evaluated["found"] if evaluated else {"systems": {}}
    systems = found["systems"]
    base = share(systems.get("base"))
    said = systems.get("base", {}).get("said")
    return (
        _title(row, found),
        _tuning(steps["tune"]),
        base if said is None else f"{base} ({said:.0%})",
        share(systems.get("expert")),
        share(systems.get("proxy")),
        _as_fitted(fitted, systems),
        share(tuned or None),
        fitted["found"]["verdict"].replace("|", "\\|") if fitted else _MISSING,
    )


def _as_fitted(fitted: Record | None, systems: Mapping[str, Any]) -> str:
    """What fit chose, and how that did on the questions of the test."""
    if fitted is None:
        return _MISSING
    setting = fitted["found"]["chosen"]["setting"]
    named = {"expert": "expert alone", "base": "base alone", "proxy": "the paper"}
    what = named.get(setting, setting.removeprefix("proxy/").replace("/", ", "))
    return f"{what}: {share(systems.get(setting))}"


def _direct_cells(row: Row, steps: Mapping[str, Record | None]) -> tuple[str, ...]:
    evaluated = steps["eval"]
    found = evaluated["found"] if evaluated else {"systems": {}}
    systems, gap = found["systems"], found.get("gap_closed")
    general = found.get("general") or {"systems": {}}
    outside = general["systems"]
    return (
        _title(row, found),
        _tuning(steps["tune"]),
        *(share(systems.get(name)) for name in ("base", "proxy", "tuned")),
        _MISSING if gap is None else f"{gap:.0%}",
        share(outside.get("base")),
        *(share(outside.get(name), "kept") for name in ("proxy", "tuned")),
    )


def _title(row: Row, found: Mapping[str, Any]) -> str:
    return f"{row.title} ({found['questions']} questions)" if "questions" in found else row.title


def _tuning(record: Record | None) -> str:
    if record is None:
        return _MISSING
    found = record["found"]
    examples = f"{found['data']['kept']}"
    if not found["new"]:
        return f"{examples}, tuned above"
    minutes = record["seconds"] / 60
    ended = ", ended by the clock" if found["result"]["ending"] == "minutes" else ""
    return f"{examples}, {minutes:.1f} min{ended}"


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [_line(head), f"|{'---|' * len(head)}", *map(_line, rows)]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _footer(records: Mapping[str, Mapping[str, Record | None]]) -> Iterator[str]:
    done = [record for steps in records.values() for record in steps.values() if record]
    if not done:
        yield "Nothing has been measured yet."
        return
    took = duration(sum(record["seconds"] for record in done))
    machines = dict.fromkeys(str(record.get("machine", "unknown")) for record in done)
    yield f"In brackets: 95% intervals. All of it took {took}, on: {'; '.join(machines)}."
