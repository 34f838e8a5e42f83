"""What a judge says of a reply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Fields(NamedTuple):
    """Fields of JSON objects: how many were `said`, were `wanted`, and are among both."""

    matched: int
    said: int
    wanted: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall: 2 matched / (said + wanted)."""
        total = self.said + self.wanted
        return 2 * self.matched / total if total else 0.0

    @staticmethod
    def of_all(fields: Iterable[Fields]) -> Fields:
        """The fields of several replies together, as slot filling counts them (micro-averaged)."""
        return Fields(*(sum(column) for column in zip(Fields(0, 0, 0), *fields, strict=True)))


class Verdict(NamedTuple):
    """Whether a reply is `right`; `fields` where it was judged field by field."""

    right: bool
    fields: Fields | None = None

    @property
    def f1(self) -> float | None:
        """The F1 over the fields of this one reply; None where it has none."""
        return None if self.fields is None else self.fields.f1
