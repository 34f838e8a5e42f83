"""Documents on the command line: read by whom, and told where a reply comes from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.decode.sample import Sampling
from edgeproxy.measure.evaluate import read_questions
from edgeproxy.measure.replies import run_of
from edgeproxy.trios.find import find_recipe
from edgeproxy.trios.manifest import Documents
from tests.helpers.command_line import run_with

QUESTION = "What is the capital of Mongolia?"
CAPITAL = "Ulaanbaatar"
FACT = f"The capital of Mongolia is {CAPITAL}."


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "asia.md").write_text(f"# Asia\n\n{FACT}\n", "utf-8")
    assert main(["index", str(tmp_path / "notes"), "-o", "work"]) == 0


@pytest.fixture
def mine(factbook: Path, tmp_path: Path) -> Path:
    """A copy of the trio that ships, whose manifest may be changed."""
    return shutil.copytree(factbook.parent, tmp_path / "mine")


@pytest.mark.weights
@pytest.mark.parametrize("readers", ["base", "expert", "all"])
def test_run_tells_what_was_read_by_whom(
    factbook: Path, readers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("run", QUESTION, "--docs", "work", "--docs-to", readers)
    code, out, _ = run_with(capsys, *asked, "--json")
    assert code == 0
    found = json.loads(out)["documents"]
    assert found["to"] == readers
    assert [passage["text"] for passage in found["passages"]] == [FACT]
    assert found["passages"][0]["place"] == "line 3"
    assert all(part["text"] in json.loads(out)["text"] for part in found["parts"])


@pytest.mark.weights
def test_only_the_text_of_a_reply_is_on_standard_output(
    factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_with(capsys, "run", QUESTION, "--docs", "work", "--docs-to", "nobody")
    plain = run_with(capsys, "run", QUESTION)
    assert (code, out) == plain[:2]
    assert err == ""
    code, out, err = run_with(capsys, "run", QUESTION, "--docs", "work")
    assert code == 0
    assert "asia.md" in err or "from no document" in err
    assert "asia.md" not in out


@pytest.mark.weights
def test_eval_compares_readers(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        json.dumps({"question": QUESTION, "answer": "Ulaanbaatar", "contains": "Ulaanbaatar"}),
        "utf-8",
    )
    systems = "base/docs=base,expert/docs=expert,proxy,proxy/docs=expert"
    code, out, err = run_with(
        capsys, "eval", "factbook", questions, "--docs", "work", "--systems", systems, "--json"
    )
    assert code == 0, err
    assert list(json.loads(out)["systems"]) == systems.split(",")
    documents = json.loads(out)["documents"]
    assert (documents["index"], documents["to"]) == ("work", "base")
    recall = documents["found"]["recall"]
    assert (recall["accuracy"], recall["n"]) == (1.0, 1)
    code, out, err = run_with(
        capsys, "eval", "factbook", questions, "--docs", "work", "--systems", "expert"
    )
    assert "passages found in work hold the answer to 100.0%" in out


@pytest.mark.weights
def test_replies_read_from_other_documents_are_not_gone_on_with(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions, replies = tmp_path / "questions.jsonl", tmp_path / "replies.jsonl"
    questions.write_text(json.dumps({"question": QUESTION, "answer": CAPITAL}), "utf-8")
    asked = ("eval", "factbook", questions, "--systems", "expert", "--replies", replies)
    assert run_with(capsys, *asked, "--docs", "work", "--docs-to", "expert")[0] == 0
    line = replies.read_text("utf-8")
    recipe = replace(find_recipe("factbook"), documents=Documents("work", "expert"))
    made = run_of(recipe, ["expert"], read_questions(questions), Sampling(), {})
    other = run_of(
        replace(recipe, documents=None), ["expert"], read_questions(questions), Sampling(), {}
    )
    assert made != other
    part = replies.with_name("replies.jsonl.part")
    known = {"number": 0, **json.loads(line)}
    part.write_text(f"{json.dumps({'run': dict(made)})}\n{json.dumps(known)}\n", "utf-8")
    code, _, err = run_with(capsys, *asked, "--resume")
    assert code == 2
    assert "other documents" in err


def test_a_system_that_reads_needs_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": QUESTION, "answer": CAPITAL}), "utf-8")
    asked = ("eval", "factbook", questions, "--systems", "expert/docs=expert")
    code, out, err = run_with(capsys, *asked)
    assert (code, out) == (2, "")
    assert "expert/docs=expert reads documents, and there are none" in err


def test_a_wrong_index_or_reader_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_with(capsys, "run", "Hello", "--docs", "nowhere")
    assert (code, out) == (1, "")
    assert "there is no index 'nowhere' (there are: work)" in err
    assert err.count("\n") == 1
    code, out, err = run_with(capsys, "run", "Hello", "--docs-to", "base")
    assert (code, out) == (2, "")
    assert "give docs too" in err


def test_show_says_who_sees_documents(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = mine / "trio.toml"
    text = manifest.read_text("utf-8")
    manifest.write_text(f'{text}\n[documents]\nindex = "work"\nto = "expert"\n', "utf-8")
    code, out, _ = run_with(capsys, "show", mine)
    assert code == 0
    assert "work, read by the expert alone; the base sees none" in out
    found = json.loads(run_with(capsys, "show", mine, "--json")[1])["documents"]
    assert found == {"index": "work", "to": "expert", "count": 3, "tokens": 400, "system": []}


@pytest.mark.weights
def test_chat_tells_of_documents(
    factbook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io
    import sys

    lines = f"/docs\n{QUESTION}\n/docs\n/docs expert\n/docs me\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    _, _, err = run_with(capsys, "chat", "--docs", "work")
    assert "nothing was read for the last reply" in err
    assert "for the last reply the base reads:" in err
    assert FACT in err
    assert "the expert alone reads the documents" in err
    assert "/docs takes nobody, base, expert or all, not 'me'" in err
