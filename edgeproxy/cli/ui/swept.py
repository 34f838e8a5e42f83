"""What a sweep found, as text: a table of the settings, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeproxy.measure.compare import p_in_words
from edgeproxy.measure.grid import in_words
from edgeproxy.measure.sweep import verdict

_OWN = "it is that"
_UNKNOWN = "-"


def sweep_as_text(found: Mapping[str, Any]) -> list[str]:
    """The lines of a sweep's report, for a person."""
    rows = _rows(found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at == len(row) - 1 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    said = [*_rest(found), *verdict(found)]
    return [*lines, *(["", *said] if said else [])]


def _rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A heading, the trio's own setting where it is none of the swept ones, and these."""
    swept, total = list(found["swept"]), found["questions"]
    settings = list(found["settings"])
    own = found["own"]
    if own is not None and all(each["against_own"] is not None for each in settings):
        settings.insert(0, own)
    has_n = any(each["n"] != total for each in settings)
    names = [name.replace("_", " ") for name in swept]
    heading = [*names, *(["n"] if has_n else []), "right", "95%", "changed", "tokens", "tokens/s"]
    rows = [(*heading, "against the trio's own")]
    for each in settings:
        low, high = each["interval"]
        values = [
            *(f"{each[name]:g}" for name in swept),
            *([str(each["n"])] if has_n else []),
            f"{each['accuracy']:.1%}",
            f"[{100 * low:.0f}, {100 * high:.0f}]",
            _number(each["changed"], ".0%"),
            _number(each["tokens"], ".1f"),
            _number(each["tokens_per_second"], ".1f"),
        ]
        rows.append((*values, _against(each)))
    return rows


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _against(setting: Mapping[str, Any]) -> str:
    """How a setting does against the trio's own."""
    if setting["system"] == "proxy":
        return _OWN
    against = setting["against_own"]
    if against is None:
        return ""
    said = {"it": "better", "own": "worse", None: "no difference"}[against["better"]]
    if against["only_it"] == against["only_own"] == 0:
        return "the same ones right"
    return f"{said} ({against['only_it']} : {against['only_own']}, {p_in_words(against['p'])})"


def _rest(found: Mapping[str, Any]) -> list[str]:
    """What all settings have in common, and what was left out."""
    fixed = [
        name for name in ("alpha", "base_weight", "plausibility") if name not in found["swept"]
    ]
    said = in_words(found, fixed)
    if found["expert_ends"]:
        said += f"{', ' if said else ''}the expert ends replies"
    n = found["questions"]
    lines = [f"{n} question{'s' * (n != 1)}" + (f"; {said}" if said else "")]
    left_out: Sequence[str] = found["left_out"]
    if left_out:
        count = len(left_out)
        were = f"{count} combinations were" if count > 1 else "one combination was"
        lines.append(f"{were} left out: {left_out[0]}")
    return lines
