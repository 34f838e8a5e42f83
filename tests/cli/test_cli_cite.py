"""`--cite` and `/cite`: which passages a reply needs, as lines, as data, and stopped by Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import edgeproxy
from edgeproxy.cli import main
from edgeproxy.session import load as loader
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.command_line import run_with
from tests.helpers.near import NEAR_QUANTISED

QUESTION = "What is the capital of Mongolia?"
NOTES = {"asia.md": "The capital of Mongolia is Ulaanbaatar.", "lies.md": "Mongolia has a capital."}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(f"# Asia\n\n{text}\n", "utf-8")
    assert main(["index", str(tmp_path / "notes"), "-o", "work"]) == 0


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Give `edgeproxy chat` these lines."""
    data = "".join(f"{line}\n" for line in lines).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def pressing(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Have Ctrl-C pressed when a reply is scored for the n-th time."""
    score, count = TrioSpeaker.score, []

    def pressed(*arguments: Any) -> list[float]:
        count.append(1)
        if len(count) == nth:
            signal.raise_signal(signal.SIGINT)
        return score(*arguments)

    monkeypatch.setattr(TrioSpeaker, "score", pressed)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("readers", ["base", "expert", "all"])
def test_run_gives_the_drops_as_data(
    factbook: Path, readers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("run", QUESTION, "--docs", "work", "--docs-to", readers)
    code, out, err = run_with(capsys, *asked, "--cite", "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    documents = printed["documents"]
    left_out = documents["left_out"]
    ids = [passage["id"] for passage in documents["passages"]]
    assert len(ids) == 2
    assert [(p["start"], p["end"]) for p in left_out] == [
        (p["start"], p["end"]) for p in documents["parts"]
    ]
    for part in left_out:
        assert part["text"] == printed["text"][part["start"] : part["end"]]
        assert [drop["id"] for drop in part["drops"]] == ids
        assert part["source"] in (None, *ids)
    with edgeproxy.load("factbook", docs="work", docs_to=readers) as session:
        turn = session.reply(QUESTION)
        list(turn)
        assert turn.text == printed["text"]
        for part, found in zip(left_out, turn.cite(), strict=True):
            nats = [drop["nats"] for drop in part["drops"]]
            tolerance = NEAR_QUANTISED * max(1, len(found.text))
            assert nats == pytest.approx(found.drops, abs=tolerance)
    # Without --cite it is the same but for that.
    del documents["left_out"]
    without = json.loads(run_with(capsys, *asked, "--json")[1])
    assert without["documents"] == documents


@pytest.mark.weights
def test_only_the_reply_is_on_standard_output(
    factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("run", QUESTION, "--docs", "work")
    code, out, err = run_with(capsys, *asked, "--cite")
    _, plain_out, plain_err = run_with(capsys, *asked)
    assert (code, out) == (0, plain_out)
    assert err.startswith(plain_err)
    assert err != plain_err
    assert "as likely without" in err or "less likely without" in err


@pytest.mark.weights
@pytest.mark.parametrize("nth", [1, 2])
def test_ctrl_c_while_citing_keeps_the_reply(
    factbook: Path, nth: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("run", QUESTION, "--docs", "work")
    wanted = json.loads(run_with(capsys, *asked, "--json")[1])
    pressing(monkeypatch, nth)
    code, out, err = run_with(capsys, *asked, "--cite", "--json")
    assert (code, err) == (130, "edgeproxy: interrupted\n")
    printed = json.loads(out)
    assert (printed["text"], printed["documents"]) == (wanted["text"], wanted["documents"])


@pytest.mark.parametrize("verb", [("run", "Hello"), ("chat",)])
@pytest.mark.parametrize("docs", [(), ("--docs", "work", "--docs-to", "nobody")])
def test_cite_without_readers_is_refused_before_a_model_is_loaded(
    verb: tuple[str, ...],
    docs: tuple[str, ...],
    factbook: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loading(*_arguments: object, **_settings: object) -> NoReturn:
        pytest.fail("a model was loaded")

    monkeypatch.setattr(loader, "load", loading)
    code, out, err = run_with(capsys, *verb, *docs, "--cite")
    assert (code, out) == (2, "")
    assert "no model reads documents here: give --docs NAME" in err
    assert err.count("\n") == 1


@pytest.mark.weights
def test_chat_cites_each_reply_or_the_last_one(
    factbook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "/cite", QUESTION, "/cite", "/docs nobody", QUESTION, "/cite")
    _, out, err = run_with(capsys, "chat", "--docs", "work")
    assert "/cite is about the last reply, and there is none yet" in err
    assert "likely without" in err
    assert "the last reply has read no documents; /docs base, expert or all lets" in err
    assert len(out.splitlines()) == 2
    typed(monkeypatch, QUESTION, QUESTION, "/docs nobody", QUESTION)
    code, _, err = run_with(capsys, "chat", "--docs", "work", "--cite")
    assert code == 0
    assert 1 <= err.count("likely without") <= 2


@pytest.mark.weights
def test_ctrl_c_while_a_chat_cites_does_not_end_it(
    factbook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pressing(monkeypatch, 2)
    typed(monkeypatch, QUESTION, QUESTION, "/cite")
    code, out, err = run_with(capsys, "chat", "--docs", "work", "--cite")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert err.count("(stopped)") == 1
