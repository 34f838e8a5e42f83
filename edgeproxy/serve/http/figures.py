"""Figures as Prometheus reads them: https://prometheus.io/docs/instrumenting/exposition_formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

KIND = b"text/plain; version=0.0.4; charset=utf-8"
"""The content type."""

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """A figure: its name, what it is, and its values, each by the labels that tell it from others.

    A "counter" only grows, and its name ends in _total; a "gauge" goes up and down.
    """

    name: str
    said: str
    kind: Literal["counter", "gauge"]
    values: Mapping[Labels, float]


def figure(name: str, said: str, kind: Literal["counter", "gauge"], value: float) -> Figure:
    """One figure with one value, under "edgeproxy_" and its name."""
    return Figure(f"edgeproxy_{name}", said, kind, {(): value})


def figure_by(
    name: str, said: str, kind: Literal["counter", "gauge"], label: str, by: Mapping[str, float]
) -> Figure:
    """One figure with a value for each value of a label; see `figure`."""
    values: dict[Labels, float] = {((label, each),): value for each, value in by.items()}
    return Figure(f"edgeproxy_{name}", said, kind, values)


def written(figures: Iterable[Figure]) -> bytes:
    """The text that is served."""
    lines: list[str] = []
    for each in figures:
        lines += [f"# HELP {each.name} {each.said}", f"# TYPE {each.name} {each.kind}"]
        for labels, value in each.values.items():
            told = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
            lines.append(
                f"{each.name}{{{told}}} {value:.12g}" if told else f"{each.name} {value:.12g}"
            )
    return ("\n".join(lines) + "\n").encode("utf-8")


@dataclass
class Traffic:
    """What the server has answered: requests by status. `open` are under way."""

    answered: Counter[str] = field(default_factory=Counter)
    open: int = 0

    def figures(self) -> list[Figure]:
        """These, as they are told."""
        answered = figure_by(
            "http_answers_total", "Answers by status.", "counter", "status", self.answered
        )
        return [answered, figure("http_open", "Requests under way.", "gauge", self.open)]
