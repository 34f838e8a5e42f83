"""`edgeproxy fit`: what it prints and writes, what it refuses, and where it was interrupted."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.cli import main
from edgeproxy.decode.steering import Steering
from edgeproxy.prompts.formats import plain
from edgeproxy.session import load as loader
from edgeproxy.session.speaker import SoloSpeaker
from edgeproxy.trios.find import read_recipe
from tests.helpers.command_line import FAKE_TRIO, Run
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, fake_vocab, saying, script

COUNT = 24
RIGHT = {f"Q{n}?\n": "Lima" for n in range(COUNT)}
WRONG = {f"Q{n}?\n": "Rome" for n in range(COUNT)}
Replies = dict[str, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trio.toml").write_text(FAKE_TRIO.replace("\n", " # mine\n", 1))
    lines = (json.dumps({"question": q.strip(), "answer": "Lima"}) + "\n" for q in RIGHT)
    (tmp_path / "questions.jsonl").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def says() -> dict[str, Replies]:
    """What each model says: here the base knows, and the pair adds nothing but the form."""
    return {"base": RIGHT, "expert": WRONG, "anti_expert": WRONG, "base alone": WRONG}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, says: dict[str, Replies]) -> list[dict[str, Any]]:
    """What `load` was asked for so far; it opens fakes."""
    asked: list[dict[str, Any]] = []

    def load(recipe: object, *, cancel: object, **more: Any) -> FakeSession:
        asked.append({"recipe": recipe, **more})
        models = [saying(says[role]) for role in ("base", "expert", "anti_expert")]
        session = FakeSession(models, trio=recipe, **more)
        replies = {"base": says["base alone"], "expert": says["expert"]}
        monkeypatch.setattr(
            session, "_make_solo", lambda role: SoloSpeaker(saying(replies[role]), plain)
        )
        return session

    monkeypatch.setattr(loader, "load", load)
    return asked


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], loaded: list[dict[str, Any]]) -> Run:
    def run(*options: str) -> tuple[int, str, str]:
        files = str(folder / "trio.toml"), str(folder / "questions.jsonl")
        code = main(["fit", *files, *options])
        return code, *capsys.readouterr()

    return run


def test_what_is_found_is_told_and_written(run: Run, folder: Path) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "\nproxy " in out
    assert "The proxy is right in 100% [86, 100], the expert alone in 0%, the base in 0%" in out
    assert ": steer, by the paper's equation" in out
    assert "alpha = 1, base_weight = 1, plausibility = 0, and [fitted]" in out
    recipe = read_recipe(folder)
    assert recipe.steering == Steering()
    assert recipe.fitted is not None
    assert (recipe.fitted.questions, recipe.fitted.count) == ("questions.jsonl", COUNT)
    assert recipe.fitted.results[0].setting == "expert"
    assert (folder / "trio.toml").read_text().startswith('name = "fake" # mine\n')


def test_the_expert_alone_is_written_where_it_is_as_good(
    run: Run, folder: Path, says: dict[str, Replies]
) -> None:
    says["expert"] = RIGHT
    code, out, _ = run()
    assert code == 0
    assert "The expert alone is as good (100% against 100%" in out
    assert "edgeproxy will" in out
    assert read_recipe(folder).steering == Steering(base_weight=0.0)


def test_a_trio_of_which_the_expert_answers_alone_is_loaded_whole(
    run: Run, folder: Path, loaded: list[dict[str, Any]]
) -> None:
    manifest = folder / "trio.toml"
    manifest.write_text("base_weight = 0.0\n" + manifest.read_text())
    assert run()[0] == 0
    assert loaded[0]["recipe"].steering == Steering()
    assert set(loaded[0]["solo"]) == {"base", "expert"}
    assert read_recipe(folder).steering == Steering()


def test_json_and_a_dry_run(run: Run, folder: Path) -> None:
    before = (folder / "trio.toml").read_text()
    code, out, err = run("--dry-run", "--json", "--limit", "22")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["trio"], found["questions"], found["ending"]) == ("fake", 22, "decided")
    assert found["chosen"]["setting"] == "proxy"
    assert found["chosen"]["base_weight"] == 1.0
    assert found["written"] is None
    assert sum(each["asked"] for each in found["settings"]) == found["answers"]
    assert (folder / "trio.toml").read_text() == before


def test_where_nobody_is_right_nothing_is_written(
    run: Run, folder: Path, says: dict[str, Replies]
) -> None:
    says["base"] = WRONG
    before = (folder / "trio.toml").read_text()
    code, out, _ = run()
    assert code == 0
    assert "there is nothing to choose by" in out
    assert (folder / "trio.toml").read_text() == before


def interrupting(at: int) -> Callable[[Sequence[int]], NDArray[np.float32]]:
    """A base that knows; Ctrl-C is pressed as it is asked for the `at`th time."""
    knows, seen = script(RIGHT, fake_vocab()), 0

    def heard(history: Sequence[int]) -> NDArray[np.float32]:
        nonlocal seen
        if bytes(t for t in history if t < 256).endswith(b"?\n"):
            seen += 1
            if seen == at:
                signal.raise_signal(signal.SIGINT)
        return knows(history)

    return heard


def test_ctrl_c_says_the_best_so_far_writes_nothing_and_resume_goes_on(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[dict[str, Any]]
) -> None:
    load, replies = loader.load, folder / "replies"
    before = (folder / "trio.toml").read_text()

    def load_interrupting(*given: Any, **more: Any) -> Any:
        session = load(*given, **more)
        model = FakeModel(interrupting(85), vocab=fake_vocab())
        monkeypatch.setattr(session.trio, "base", model)
        return session

    monkeypatch.setattr(loader, "load", load_interrupting)
    code, out, err = run("--replies", str(replies))
    assert code == 130
    assert "Interrupted before it was decided; the best so far: The proxy is right in" in out
    assert "not written: alpha = 1" in out
    assert "--resume goes on from it" in err
    assert err.endswith("edgeproxy: interrupted\n")
    assert (folder / "trio.toml").read_text() == before

    monkeypatch.setattr(loader, "load", load)
    kept = len((folder / "replies.part").read_text().splitlines()) - 1
    assert kept >= 84
    code, _, err = run("--replies", str(replies))
    assert code == 2
    assert "go on with --resume" in err
    code, out, err = run("--replies", str(replies), "--resume", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["chosen"]["setting"] == "proxy"
    lines = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(lines) == json.loads(out)["answers"] > kept
    assert not (folder / "replies.part").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resume"], "--resume goes on with the file of --replies; give both"),
        (["--minutes", "0"], "0.0 is not in the range x>0"),
        (["--judge", "mood"], "'mood' is not one of"),
        (["--judge", "number"], "questions.jsonl:1: the accepted answer 'Lima'"),
        (["--alpha", "1"], "No such option"),
        (["--replies", "{folder}/questions.jsonl"], "the replies would overwrite the questions"),
    ],
)
def test_wrong_usage(
    run: Run, folder: Path, loaded: list[dict[str, Any]], options: list[str], said: str
) -> None:
    code, out, err = run(*(option.format(folder=folder) for option in options))
    assert (code, out) == (2, "")
    assert said in err
    assert loaded == []


def test_a_trio_that_ships_is_refused_before_anything_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], loaded: list[dict[str, Any]]
) -> None:
    assert main(["fit", "factbook", str(folder / "questions.jsonl")]) == 2
    assert "the trio factbook comes with edgeproxy" in capsys.readouterr().err
    assert loaded == []


def test_too_little_time_is_said(run: Run, folder: Path) -> None:
    before = (folder / "trio.toml").read_text()
    code, out, err = run("--minutes", "1e-9")
    assert (code, out) == (1, "")
    assert "ran out of time before anything could be said" in err
    assert (folder / "trio.toml").read_text() == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_show_tells_what_was_found(
    tmp_path: Path, factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = factbook.read_text().replace('file = "', f'file = "{tmp_path.name}/')
    (tmp_path / tmp_path.name).symlink_to(factbook.parent)
    table = (
        'questions = "q"\ncount = 3\ndate = "2026-11-25"\nedgeproxy = "1"\nverdict = "Use it."\n'
    )
    (tmp_path / "trio.toml").write_text(
        f'{text}\n[fitted]\n{table}sha256 = "{"a" * 64}"\nresults = []\n'
    )
    assert main(["show", str(tmp_path)]) == 0
    assert "fitted             2026-11-25, on 3 questions: Use it." in capsys.readouterr().out
