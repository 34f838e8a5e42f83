"""The measurements of `tools.alignment` run, and say what they should of small samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.gguf_files import OTHER_MERGES, byte_level_vocabulary, draft
from tools.alignment import __main__ as alignment


def measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> list[dict[str, Any]]:
    monkeypatch.setattr("sys.argv", ["alignment", *words, "--json"])
    alignment.main()
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.weights
def test_other_ids_and_padding_change_no_reply(
    factbook: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = str(factbook.parent / "questions.jsonl")
    rows = measured(capsys, monkeypatch, "permuted", "factbook", questions, "--count", "5")
    # A near tie may fall otherwise; a wrong id makes every reply another one.
    assert len(rows) == 3
    assert all(row["same tokens"] >= 4 for row in rows)


@pytest.mark.weights
def test_ways_to_bridge_two_vocabularies_are_compared(
    factbook: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = str(factbook.parent / "questions.jsonl")
    rows = measured(capsys, monkeypatch, "naive", "factbook-phi", questions, "--limit", "8")
    share = {row["way"]: row["right"] for row in rows}
    assert share["edgeproxy, mask 0.01"] >= 0.7
    assert share["base alone"] <= 0.2
    assert len(share) == 3 + 2 * 4


@pytest.mark.slow
def test_costs_are_measured_at_real_size(
    vocabs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "--base-vocab": vocabs / "ggml-vocab-qwen2.gguf",
        "--pair-vocab": vocabs / "ggml-vocab-gpt-2.gguf",
        "--text": Path(__file__).parents[2] / "README.md",
    }
    words = [str(word) for pair in files.items() for word in pair]
    rows = measured(capsys, monkeypatch, "cost", *words, "--tokens", "500")
    assert len(rows) == 4
    assert all(row["ratio"] <= 1.3 for row in rows)
    assert all(row["median ms"] > 0 for row in rows)


def test_starts_are_timed_against_reading_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("EDGEPROXY_CACHE", str(kept))
    base, pair = draft("llama"), draft("llama")
    pair.metadata |= byte_level_vocabulary(OTHER_MERGES)
    files = {"--base": base.write(tmp_path / "b.gguf"), "--pair": pair.write(tmp_path / "p.gguf")}
    options = [str(word) for option in files.items() for word in option]
    rows = measured(capsys, monkeypatch, "load", *options, "--rounds", "2")
    wanted = ["reading the files", "first start", "later start", "kept alignment"]
    assert [row["what"] for row in rows] == wanted
    assert rows[0]["of reading"] == 1.0
    assert all(row["median s"] > 0 for row in rows)
    assert not kept.exists()
