"""Installs that are killed: the store opens, nothing is half there, and doing it again works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.trios.bundle import Bundle, create, install
from edgeproxy.trios.find import read_recipe
from edgeproxy.trios.store import Store
from tests.helpers.bundles import write_trio

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, for speed")
def test_kill_at_many_steps(tmp_path: Path) -> None:
    for name, shift in (("old", 20), ("mini", 0)):
        recipe = read_recipe(write_trio(tmp_path / name, name, shift=shift))
        create([recipe], tmp_path / f"{name}.bundle")
    with Bundle(tmp_path / "old.bundle") as bundle:
        install(bundle, Store(tmp_path / "home"))
    command = [sys.executable, "-m", "tests.helpers.killing", str(tmp_path / "mini.bundle")]
    done = subprocess.run(
        [*command, str(tmp_path / "home"), "40"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["wrong"] == []
    assert found["kills"] == 40
    assert 0 < found["complete"] < 40  # kills before the last rename, and some after it
