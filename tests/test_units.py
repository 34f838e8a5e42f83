"""How numbers are said to a person."""

from __future__ import annotations

import pytest

from edgeproxy.units import duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (7325, "2 h 2 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
