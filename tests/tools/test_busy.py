"""`tools.measure.busy`: that neighbours are busy and end, and what is counted."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from edgeproxy.core.threads import counts, processors
from tools.measure import busy


def test_neighbours_last_as_long_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*given: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*given))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with busy.busy(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)
    assert len(started) == 2


def test_speed_counts_from_a_moment_on() -> None:
    times = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert busy.speed(times) == pytest.approx(2.0)
    assert busy.speed(times, 1.0) == pytest.approx(2.0)
    assert busy.speed([0.1, 4.0], 2.0) == pytest.approx(0.5)


@pytest.mark.weights
def test_it_compares_with_every_fixed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "FOUND", 0.01)
    heard: list[str] = []
    found = busy.measure("factbook", 1, 0.1, 1, 12, "auto", heard.append)
    (one,) = found["rounds"]
    assert set(one["fixed"]) == set(counts(processors()))
    assert one["share"] == pytest.approx(one["busy"] / max(one["fixed"].values()))
    assert all(speed > 0 for speed in (one["quiet"], one["busy"], one["quiet again"]))
    assert any("busy, threads 1" in what for what in heard)
    assert "the best fixed number" in "\n".join(busy.as_text(found))


def test_wrong_numbers_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.measure.busy", "factbook", "--seconds", "1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'1' is not a number of more than 2" in done.stderr
    assert "Traceback" not in done.stderr
