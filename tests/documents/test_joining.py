"""Seams between cuts of one paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents.joining import LEAST_OVERLAP, MOST_CHARACTERS, overlap, record, seamless
from edgeproxy.documents.passage import Passage


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["one two three four", "three four five"], "one two three four five"),
        (["one two", "three"], "one two\nthree"),
        (["a", "a"], "a\na"),  # too little to be a seam
        (["第一句话。", "第二句话。"], "第一句话。\n第二句话。"),
        (["很久以前", "有一座山"], "很久以前有一座山"),
        (["same text again", "same text again"], "same text again"),
    ],
)
def test_a_seam_is_written_once(texts: list[str], whole: str) -> None:
    assert seamless(texts) == whole


@given(st.text(max_size=40), st.text(min_size=LEAST_OVERLAP, max_size=40), st.text(max_size=40))
def test_what_two_texts_share_at_the_seam_is_found(before: str, both: str, after: str) -> None:
    n = overlap(before + both, both + after)
    assert n >= len(both)
    assert (before + both).endswith((both + after)[:n])


def of(number: int, trail: tuple[str, ...], text: str) -> Passage:
    return Passage(number, Path("a.json"), number, trail, "", text)


def test_a_record_has_its_short_fields_and_a_limit() -> None:
    capital = ("Chad", "Capital")
    fields = [
        of(0, (*capital, "note"), "x" * MOST_CHARACTERS),
        of(1, (*capital, "name"), "N'Djamena"),
        of(2, (*capital, "zone"), "UTC+1"),
        of(3, ("Chad", "Flag"), "blue"),
    ]
    found = record(fields[2], fields, {"Capital"}.__contains__)
    assert [passage.number for passage in found] == [1, 2]
    assert record(fields[2], fields, {"Capital", "zone"}.__contains__) == [fields[2]]
    assert record(fields[2], fields, {"Chad"}.__contains__) == [fields[2]]
