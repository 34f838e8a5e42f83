"""Ids and times of replies that are the same in each run."""

from __future__ import annotations

import pytest

from tests.helpers.openai_events import hold_stamps


@pytest.fixture(autouse=True)
def held_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_stamps(monkeypatch)
