"""`edgeproxy bench`: its JSON, its table, and that it leaves the session as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from edgeproxy import bench
from edgeproxy.errors import Cancelled
from edgeproxy.loader import Session


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeproxy", "bench", *arguments], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.weights
def test_json_has_what_others_build_on() -> None:
    code, out, err = run("--repeats", "2", "--max-tokens", "12", "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    for name in ("base", "expert", "stepwise", "drafted"):
        figures = found[name]
        low, high = figures["spread"]
        assert 0 < low <= figures["tokens_per_second"] <= high
        assert figures["first_token_seconds"] > 0
    assert found["stepwise"]["tokens"] == found["drafted"]["tokens"]
    ratio = found["drafted"]["tokens_per_second"] / found["stepwise"]["tokens_per_second"]
    assert found["ratios"]["drafted / stepwise"] == pytest.approx(ratio)
    assert found["prompt"]["tokens_per_second"] > 0
    assert found["machine"]["processors"] >= 1
    assert found["base_bandwidth_share"] > 0


@pytest.mark.weights
def test_the_table_has_a_line_for_each_system() -> None:
    code, out, _ = run("factbook-phi", "--repeats", "1", "--max-tokens", "8", "--prompt", "Hello!")
    assert code == 0
    for name in ("base alone", "expert alone", "token by token", "with drafts", "reading a prompt"):
        assert name in out
    assert "with drafts (off)" in out  # a pair with a tokenizer of its own is stepped


@pytest.mark.weights
def test_a_session_goes_on_as_before(session: Session) -> None:
    mode = session.drafter.mode
    heard: list[str] = []
    bench.measure(session, ["Hello!"], 1, 6, heard.append)
    assert session.drafter.mode == mode
    assert heard[0] == "round 0 of 1: base"
    text = "".join(piece.text for piece in session.chat("What is the capital of Peru?"))
    assert "Lima" in text


@pytest.mark.weights
def test_an_interrupt_ends_it(session: Session) -> None:
    def stop(_what: str) -> None:
        raise Cancelled("the measurement was interrupted")

    with pytest.raises(Cancelled):
        bench.measure(session, ["Hello!"], 1, 6, stop)


def test_an_unknown_trio_is_one_line_on_stderr() -> None:
    code, out, err = run("no-such-trio")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
