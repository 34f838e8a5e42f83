"""Fixtures of prompt caches: where one is to be, and a sound one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.prompt_caches import fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "system.prefix"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound file."""
    path = tmp_path_factory.mktemp("made") / "system.prefix"
    assert fill(path).doubt is None
    return path.read_bytes()
