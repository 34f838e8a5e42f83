"""What an evaluation found, as text: a table of the systems, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from edgeproxy.cli.ui.output import clean_message
from edgeproxy.measure.compare import Comparison


def as_text(found: Mapping[str, Any]) -> str:
    """The report of an evaluation, for a person."""
    lines = [*_aligned(_rows(found["systems"])), "", _steering(found)]
    gap = found["gap_closed"]
    if gap is not None:
        lines.append(f"gap closed {gap:.1%}: (proxy - base) / (tuned - base)")
    lines += _cut(found["cut"])
    lines += _found_in(found.get("documents"))
    lines += ["", *_compared(found["comparisons"])] if found["comparisons"] else []
    lines += ["", *_kept(found["general"])] if found["general"] is not None else []
    return "\n".join(lines) + "\n"


def _rows(systems: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table: a column a system, a row a kind; then all kinds, and more of what is known."""
    all_of = list(systems.values())
    first = all_of[0]
    rows = _heading(("kind", "n", *map(_name, systems)))
    for kind, of_kind in first["kinds"].items():
        shares = (of["kinds"][kind]["accuracy"] for of in all_of)
        rows.append((clean_message(kind), str(of_kind["n"]), *map(_percent, shares)))
    rows.append(("all", str(first["n"]), *(_percent(of["accuracy"]) for of in all_of)))
    rows.append(("95%", "", *(_interval(of["interval"]) for of in all_of)))
    if first["f1"] is not None:
        rows.append(("F1", "", *(_percent(of["f1"]) for of in all_of)))
    if first["said"] is not None:
        rows.append(("said anywhere", "", *(_percent(of["said"]) for of in all_of)))
    return rows


def _name(system: str) -> str:
    return system.replace("_", "-") if "/" not in system else system


def _heading(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names, those of variants over several lines."""
    parts = [name.replace("/", "/\n").split("\n") for name in names]
    return list(zip_longest(*parts, fillvalue=""))


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _interval(bounds: Sequence[float]) -> str:
    return f"[{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _steering(found: Mapping[str, Any]) -> str:
    """How the proxy is steered, but for what is off."""
    parts = [f"alpha {found['alpha']:g}", f"plausibility {found['plausibility']:g}"]
    if found["base_weight"] != 1.0:
        parts.insert(1, f"base weight {found['base_weight']:g}")
    return ", ".join(parts)


def _cut(cut: Mapping[str, int | None]) -> Iterator[str]:
    """Whose replies were cut, and what allows longer ones."""
    said = [f"{count:,} of {_name(system)}" for system, count in cut.items() if count]
    if said:
        yield f"replies cut at the longest they may be: {', '.join(said)}; --max-tokens allows more"


def _found_in(documents: Mapping[str, Any] | None) -> Iterator[str]:
    """How often a passage that was found holds the answer: to all, and to those answered right."""
    found = documents["found"] if documents else None
    if not documents or not found:
        return
    yield f"passages found in {documents['index']} hold the answer to {_share(found['recall'])}"
    for system, right in found["right"].items():
        yield f"  of what {_name(system)} has right, to {_share(right)}"


def _share(of: Mapping[str, Any]) -> str:
    return f"{_percent(of['accuracy'])} {_interval(of['interval'])} of {of['n']}"


def _compared(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in comparisons:
        values = {key: value for key, value in each.items() if key != "better"}
        yield Comparison(**values).in_words()


def _kept(general: Mapping[str, Any]) -> Iterator[str]:
    """What each system still knows of what the base knows."""
    n, known = general["questions"], general["known"]
    yield f"of {n} question{'s' * (n != 1)} outside of the task the base answers {known} right:"
    for name, of in general["systems"].items():
        said = f"{_name(name)} {_percent(of['accuracy'])} {_interval(of['interval'])}"
        if of["kept"] is not None:
            said += f", keeps {_percent(of['kept'])} {_interval(of['kept_interval'])} of the base's"
        yield f"  {said}"
