"""The tool that measures how soon a cancel is heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.cli.ui.progress import Working
from tools.measure.cancel import measure


@pytest.mark.weights
def test_cancels_are_timed_and_what_follows_is_right(factbook: Path) -> None:
    found = measure("factbook", 400, 3, 0.05, 1, Working())
    assert 380 <= found["prompt_tokens"] <= 400
    assert len(found["seconds"]) == 3
    assert 0.0 <= found["median_seconds"] <= found["most_seconds"]
    assert found["same_reply_afterwards"] is True
