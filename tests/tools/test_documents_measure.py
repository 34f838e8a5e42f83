"""How fast documents are indexed and searched, measured with a few small ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from tools.measure import documents


def test_each_task_is_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "FILES", 5)
    monkeypatch.setattr(documents, "SHORT_PASSAGES", 40)
    monkeypatch.setattr(documents, "VOCABULARY", 300)
    found = documents.measure(tmp_path, 20_000)
    assert list(found) == ["many files", "a change", "no change", "a large file", "short passages"]
    assert found["many files"]["bytes"] >= 20_000
    assert found["a change"]["bytes"] < found["many files"]["bytes"]
    assert found["no change"]["bytes"] == 0
    assert found["short passages"]["passages"] == 40
    for name in ("many files", "short passages"):
        assert 0 < found[name]["search"] <= found[name]["longest_search"], name
    lines = list(documents.as_text({"tasks": found}))
    assert "a search among 40 passages (short passages): " in lines[-2]
    assert not any(tmp_path.iterdir())


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="empty"):
        documents.measure(tmp_path, 1)
    assert (tmp_path / "mine.txt").is_file()
