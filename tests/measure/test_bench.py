"""`edgeproxy bench`: its JSON, its table, and that it leaves the session as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from edgeproxy.errors import Cancelled
from edgeproxy.measure import bench
from edgeproxy.session.session import Session


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeproxy", "bench", *arguments], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def nobody(_what: str) -> None:
    """Hears what is measured."""


LIBRARIES = 8_000_000
"""Bytes by which resident parts of libraries' files differ: more where they were just installed."""

TEXTS = {"trio", "draft", "system", "processor", "python", "llama_cpp_python"}


def assert_numbers(found: dict[str, Any]) -> None:
    """Nothing in this JSON is a text but what names something."""
    for key, value in found.items():
        if isinstance(value, dict):
            assert_numbers(value)
        else:
            assert isinstance(value, str) == (key in TEXTS), key


@pytest.mark.weights
def test_json_has_what_others_build_on() -> None:
    # One thread: on a busy machine others are tried, and each has memory of its own.
    code, out, err = run("--repeats", "2", "--max-tokens", "12", "--threads", "1", "--json")
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
    assert found["ratios"]["prompt: trio / base"] > 0
    first = found["drafted"]["first_token_seconds"] / found["base"]["first_token_seconds"]
    assert found["ratios"]["first token: drafted / base"] == pytest.approx(first)
    assert found["same_text"]

    assert_numbers(found)
    assert found["peak_memory"] == found["memory"]["peak"]

    # What the models measured alone get, and the buffers that find the bandwidth, come later.
    memory = found["memory"]
    if memory["peak"] is not None:
        most = memory["bar"] * memory["needed"] + LIBRARIES
        assert memory["weights"] + memory["kv"] < memory["peak"] <= most
        assert memory["ratio"] == pytest.approx(memory["peak"] / memory["needed"])
        assert memory["peak"] < bench.COPIED


@pytest.mark.weights
def test_drawn_replies_are_the_same_with_drafts_and_without(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    replied: list[bench.Reply] = []
    reply = bench._reply

    def noted(*asked: Any) -> bench.Reply:
        replied.append(reply(*asked))
        return replied[-1]

    monkeypatch.setattr(bench, "_reply", noted)
    monkeypatch.setattr(bench, "memory_bandwidth", lambda: (1.0, 1.0))
    found = bench.measure(session, ["Tell me about Peru."], 2, 24, nobody, temperature=1.5)
    stepwise, drafted, base, _, *rest = [one.ids for one in replied]
    assert found["same_text"]
    assert stepwise == drafted
    assert rest[2::4] == rest[3::4] == [stepwise] * 2
    assert rest[0::4] == [base] * 2
    greedy = session.chat("Tell me about Peru.", max_tokens=24)
    assert stepwise != tuple(piece.token for piece in greedy)


@pytest.mark.weights
def test_the_table_has_a_line_for_each_system() -> None:
    code, out, _ = run("factbook-phi", "--repeats", "1", "--max-tokens", "8", "--ask", "Hello!")
    assert code == 0
    for name in ("base alone", "expert alone", "token by token", "with drafts", "reading a prompt"):
        assert name in out
    assert "with drafts (off)" in out  # a pair with a tokenizer of its own is stepped


@pytest.mark.weights
def test_a_session_goes_on_as_before(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = session.drafter.mode
    heard: list[str] = []
    monkeypatch.setattr(bench, "memory_bandwidth", lambda: (1.0, 1.0))
    bench.measure(session, ["Hello!"], 1, 6, heard.append)
    assert session.drafter.mode == mode
    assert heard[0] == "warming up: stepwise"
    assert "round 1 of 1: base" in heard
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


@pytest.mark.parametrize("wrong", [("--temperature", "-1"), ("--kv", "q4_0"), ("--ctx", "0")])
def test_an_impossible_setting_is_one_line_on_stderr(wrong: tuple[str, str]) -> None:
    code, out, err = run(*wrong)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert wrong[1] in err
