"""How far work has come, how fast it goes, and an end to it at Ctrl-C."""

from __future__ import annotations

import signal

import pytest

from edgeproxy.cli.ui import output
from edgeproxy.cli.ui.progress import Rate, working
from edgeproxy.errors import Cancelled


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_how_far_how_fast_and_how_long() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.in_words(0, 10**9) == "0% of 1.0 GB"
    clock.now = 2.0
    assert rate.in_words(400_000_000, 10**9) == "40% of 1.0 GB, 200.0 MB/s, 3 s left"
    assert Rate(clock).in_words(0, 0) == "100% of 0 bytes"


def test_hours_and_minutes_are_told_as_such() -> None:
    clock = Clock()
    rate = Rate(clock)
    rate.in_words(0, 10**9)
    clock.now = 2.0
    assert rate.in_words(2_000_000, 10**9).endswith(", 1.0 MB/s, 16 min 38 s left")


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock)
    total = 281_000_000
    rate.in_words(0, total)
    for second in range(1, 31):
        clock.now = float(second)
        said = rate.in_words(second * (1_000_000 if second < 20 else 2_000_000), total)
    assert said == "21% of 281.0 MB, 2.0 MB/s, 1 min 50 s left"
    assert rate.took() == "30 s"


def test_work_that_begins_anew_has_no_rate_yet() -> None:
    clock = Clock()
    rate = Rate(clock)
    for second in range(3):
        clock.now = float(second)
        assert ("/s" in rate.in_words(1000 * second, 5000)) == (second > 0)
    assert rate.in_words(0, 5000) == "0% of 5.0 kB"


def test_bytes_that_do_not_move_have_no_rate() -> None:
    clock = Clock()
    rate = Rate(clock)
    for second in range(20):
        clock.now = float(second)
        assert rate.in_words(7, 100) == "7% of 100 bytes"


def test_ctrl_c_ends_the_work_at_its_next_step() -> None:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with working() as work:
            work.progress("reading", 1, 2)
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(Cancelled):
                work.progress("reading", 2, 2)
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_line_that_is_written_over_never_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "20")
    status = output.StatusLine(patience=0.0)
    status.show("a file with a long name: 50% of 5.6 GB")
    assert capsys.readouterr().err == "\ra file with a long "
    status.clear()
    assert capsys.readouterr().err == "\r" + " " * 19 + "\r"
