"""What `edgeproxy fit` has found out about a trio: the table `[fitted]` of its manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeproxy.errors import UsageError
from edgeproxy.trios.manifest.table import Table

KEYS = ("questions", "sha256", "count", "date", "edgeproxy", "verdict", "results")
RESULT_KEYS = ("setting", "asked", "right", "seconds")


@dataclass(frozen=True)
class Result:
    """How many of the questions that it was `asked` a setting has `right`; seconds a reply."""

    setting: str
    asked: int
    right: int
    seconds: float | None = None


@dataclass(frozen=True)
class Fitted:
    """On which questions a trio's steering was found, when, by what, and with which figures.

    `questions` is the name of their file, `sha256` its hash, `count` how many of them there were.
    `date` is "2026-11-25", `verdict` what a person was told.
    """

    questions: str
    sha256: str
    count: int
    date: str
    edgeproxy: str
    verdict: str
    results: tuple[Result, ...]


def read_fitted(table: Table) -> Fitted:
    """The table as a manifest has it. Raises `ManifestError`."""
    sha256 = table.match("sha256", r"[0-9a-f]{64}", "64 hexadecimal digits")
    date = table.match("date", r"\d{4}-\d\d-\d\d", "a day as in 2026-11-25, in quotes")
    count = table.count("count", "a number of questions")
    for key, value in (("sha256", sha256), ("date", date), ("count", count)):
        if value is None:
            table.fail(f"{key} is missing")
    rows = table.content.get("results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        table.fail("results must be a list of tables")
    table.refuse_others(KEYS)
    return Fitted(
        table.string("questions"),
        sha256 or "",
        count or 0,
        date or "",
        table.string("edgeproxy"),
        table.string("verdict"),
        tuple(_result(Table(table.path, f"{table.where}results.", row)) for row in rows),
    )


def _result(table: Table) -> Result:
    asked = table.count("asked", "a number of questions")
    right = table.count("right", "a number of questions", least=0)
    if asked is None or right is None or not right <= asked:
        table.fail("asked and right must be numbers of questions, right at most asked")
    seconds = table.number("seconds", 0.0, _check_seconds) if "seconds" in table else None
    table.refuse_others(RESULT_KEYS)
    return Result(table.string("setting"), asked, right, seconds)


def _check_seconds(value: float) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise UsageError(f"seconds must be 0 or more, not {value}")
    return value


def as_table(fitted: Fitted) -> dict[str, object]:
    """The table, which reads back as `fitted`."""
    return {
        "questions": fitted.questions,
        "sha256": fitted.sha256,
        "count": fitted.count,
        "date": fitted.date,
        "edgeproxy": fitted.edgeproxy,
        "verdict": fitted.verdict,
        "results": [_result_table(result) for result in fitted.results],
    }


def _result_table(result: Result) -> Mapping[str, object]:
    return {
        "setting": result.setting,
        "asked": result.asked,
        "right": result.right,
        "seconds": None if result.seconds is None else round(result.seconds, 3),
    }
