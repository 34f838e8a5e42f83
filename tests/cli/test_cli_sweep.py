"""`edgeproxy sweep`: what it asks, prints and draws, what it keeps when it is cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.cli import main
from edgeproxy.decode.steering import PAPER
from edgeproxy.errors import EdgeproxyError
from edgeproxy.measure import replies as replies_module
from edgeproxy.measure import sweep_plot
from edgeproxy.measure.replies import Replies
from tests.helpers.command_line import FAKE_TRIO, Run, names, replies_in
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, fake_vocab, saying, script

QUESTIONS = ("Capital?", "River?", "Lake?")
SAID = ("Quito", "Lima", "Quito")
"""What base, expert and anti-expert say of each."""
ALPHAS = ("--alpha", "0:2:1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trio.toml").write_text(FAKE_TRIO)
    ask(tmp_path, QUESTIONS)
    return tmp_path


def ask(folder: Path, questions: Sequence[str]) -> None:
    lines = (json.dumps({"question": each, "answer": "Lima"}) + "\n" for each in questions)
    (folder / "questions").write_text("".join(lines))


@pytest.fixture
def models() -> list[FakeModel]:
    return [saying({f"{each}\n": word for each in QUESTIONS}) for word in SAID]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], sessions: list[FakeSession]) -> Run:
    """Sweep with these options more: exit code, standard output, standard error."""

    def run(*options: str) -> tuple[int, str, str]:
        files = str(folder / "trio.toml"), str(folder / "questions")
        code = main(["sweep", *files, *options])
        return code, *capsys.readouterr()

    return run


def test_a_table_and_what_it_says(run: Run) -> None:
    code, out, err = run(*ALPHAS)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["0", "0.0%"],
        ["1", "100.0%"],
        ["2", "100.0%"],
    ]
    assert "0%" in lines[1].split()[4]
    assert lines[2].endswith("it is that")
    assert lines[3].endswith("the same ones right")
    assert "3 questions; base weight 1, plausibility 0" in lines
    assert lines[-1].startswith("took ")


def test_the_same_figures_as_json(run: Run) -> None:
    code, out, err = run(*ALPHAS, "--plausibility", "0,0.5", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["trio"], found["questions"], found["ending"]) == ("fake", 3, "finished")
    assert found["swept"] == {"alpha": [0.0, 1.0, 2.0], "plausibility": [0.0, 0.5]}
    # The base alone has no use for the mask; still both are settings that there are.
    assert [(s["alpha"], s["plausibility"], s["accuracy"]) for s in found["settings"]] == [
        (0.0, 0.0, 0.0),
        (0.0, 0.5, 0.0),
        (1.0, 0.0, 1.0),
        (1.0, 0.5, 1.0),
        (2.0, 0.0, 1.0),
        (2.0, 0.5, 1.0),
    ]
    base, own = found["settings"][0], found["own"]
    assert own["system"] == "proxy"
    assert (base["changed"], base["tokens"], own["tokens"]) == (0.0, len("Quito") + 1, 5)
    assert own["changed"] == 4 / 5  # of Lima all letters, but not its end
    assert base["against_own"] == {
        "n": 3,
        "only_it": 0,
        "only_own": 3,
        "p": 0.25,
        "better": None,
    }


def test_what_is_asked_is_what_eval_asks(run: Run, folder: Path) -> None:
    path = folder / "replies"
    assert run(*ALPHAS, "--replies", str(path))[0] == 0
    assert replies_in(path) == [
        (system, word)
        for system, word in (
            ("proxy", "Lima"),
            ("proxy/alpha=0", "Quito"),
            ("proxy/alpha=2", "Lima"),
        )
        for _ in QUESTIONS
    ]
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["right"], line["took"]["tokens"]) == (True, 5)
    names_ = "proxy,proxy/alpha=0,proxy/alpha=2"
    files = (str(folder / "trio.toml"), str(folder / "questions"))
    assert main(["eval", *files, "--systems", names_, "--replies", str(path), "--rejudge"]) == 0


def test_one_question_and_one_setting(run: Run, folder: Path) -> None:
    code, out, err = run("--alpha", "1", "--limit", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:3] == ["1", "100.0%", "[21,"]
    assert "1 question; base weight 1" in out
    assert run("--alpha", "0", "--limit", "1", "--plot", str(folder / "a.svg"))[0] == 0
    assert (folder / "a.svg").exists()


def test_no_question_is_an_error(run: Run, folder: Path, sessions: list[FakeSession]) -> None:
    ask(folder, ())
    code, out, err = run(*ALPHAS)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "questions" in err
    assert sessions == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "say what to sweep, such as --alpha 0:2:0.2"),
        (("--alpha", "0:2:0"), "--alpha 0:2:0: the step must be above 0"),
        (("--alpha", "2:0:0.1"), "it ends below where it starts"),
        (("--alpha", "nan"), "is no number"),
        (("--alpha", "0:1e9:1"), "that makes 1,000,000,001 settings"),
        (("--alpha", ""), "is no number"),
        (("--plausibility", "3"), "plausibility must be between 0"),
        (("--base-weight", "0:1:0.01", "--alpha", "1,2"), "that makes 202 settings"),
        ((*ALPHAS, "--resume"), "--resume goes on with the file of --replies"),
        ((*ALPHAS, "--parallel", "2"), "--parallel is for a base on a server"),
        ((*ALPHAS, "--max-cost", "2"), "--max-cost needs price_in"),
        ((*ALPHAS, "--temperature", "-1"), "temperature must be"),
        ((*ALPHAS, "--plot", "a.pdf"), "ends in .png or .svg"),
        ((*ALPHAS, "--policy", "unsure"), "No such option"),
    ],
)
def test_what_is_refused_loads_nothing(
    run: Run, sessions: list[FakeSession], options: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert sessions == []


def test_what_combines_to_none_is_left_out_and_told(run: Run) -> None:
    code, out, _ = run(*ALPHAS, "--base-weight", "0,1")
    assert code == 0
    assert "2 combinations were left out: base_weight 0 is the expert alone" in out
    code, out, _ = run(*ALPHAS, "--base-weight", "0,1", "--json")
    found = json.loads(out)
    assert len(found["left_out"]) == 2
    alone = next(each for each in found["settings"] if each["base_weight"] == 0.0)
    assert alone["changed"] is None


def test_a_trio_whose_manifest_leaves_it_to_one_model_is_loaded_whole(
    run: Run, folder: Path, sessions: list[FakeSession]
) -> None:
    manifest = folder / "trio.toml"
    manifest.write_text(f"alpha = 0\n{manifest.read_text()}")
    code, out, _ = run("--alpha", "1,2", "--json")
    assert code == 0
    assert sessions[-1].asked["trio"].steering == PAPER
    found = json.loads(out)
    assert (found["own"]["alpha"], found["own"]["accuracy"]) == (0.0, 0.0)
    assert [each["accuracy"] for each in found["settings"]] == [1.0, 1.0]


# Cut short


def interrupting(sessions: list[FakeSession], question: str) -> FakeModel:
    """A base that is interrupted by Ctrl-C where it is asked this."""
    answers = script({f"{each}\n": SAID[0] for each in QUESTIONS}, fake_vocab())
    read = list(question.encode())

    def interrupted(history: Sequence[int]) -> NDArray[np.float32]:
        if list(history[: len(read)]) == read:
            signal.raise_signal(signal.SIGINT)
            while not sessions[-1].speaker.floor.cancels:  # the main thread hears it
                time.sleep(0.001)
        return answers(history)

    return FakeModel(interrupted, vocab=fake_vocab())


def test_ctrl_c_keeps_what_came_and_tells_of_it(
    run: Run, folder: Path, models: list[FakeModel], sessions: list[FakeSession]
) -> None:
    sound, models[0] = models[0], interrupting(sessions, "Lake?")
    path, plot = folder / "replies", folder / "a.png"
    options = (*ALPHAS, "--replies", str(path), "--plot", str(plot))
    code, out, err = run(*options)
    assert code == 130
    assert [line.split()[:3] for line in out.splitlines()[:4]] == [
        ["alpha", "n", "right"],
        ["0", "2", "0.0%"],
        ["1", "2", "100.0%"],
        ["2", "2", "100.0%"],
    ]
    part = folder / "replies.part"
    assert err == (
        f"6 of 9 replies are kept in {part}; --resume goes on from it\nedgeproxy: interrupted\n"
    )
    assert names(folder) == ["questions", "replies.part", "trio.toml"]

    models[0] = sound
    code, out, err = run(*options, "--resume", "--json")
    assert (code, err) == (0, f"drawn to {plot}\n")
    assert [each["n"] for each in json.loads(out)["settings"]] == [3, 3, 3]
    assert json.loads(out)["own"]["tokens"] == 5
    assert not any(ord("C") in tokens for tokens in sound.evals)
    assert names(folder) == ["a.png", "questions", "replies", "trio.toml"]


def test_ctrl_c_as_json(run: Run, models: list[FakeModel], sessions: list[FakeSession]) -> None:
    models[0] = interrupting(sessions, "River?")
    code, out, err = run(*ALPHAS, "--json")
    assert (code, err) == (130, "edgeproxy: interrupted\n")
    found = json.loads(out)
    assert (found["ending"], [each["n"] for each in found["settings"]]) == (
        "interrupted",
        [1, 1, 1],
    )


def test_ctrl_c_before_the_first_reply_tells_nothing(
    run: Run, models: list[FakeModel], sessions: list[FakeSession]
) -> None:
    models[0] = interrupting(sessions, "Capital?")
    assert run(*ALPHAS) == (130, "", "edgeproxy: interrupted\n")


def test_another_sweep_does_not_go_on(run: Run, folder: Path) -> None:
    class Full(Replies):
        def finish(self, systems: object) -> None:
            raise EdgeproxyError("the disk is full")

    path = folder / "replies"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies_module, "Replies", Full)
        assert run(*ALPHAS, "--replies", str(path))[0] == 1
    part = folder / "replies.part"
    before = part.read_bytes()
    for other in (("--alpha", "0:3:1"), (*ALPHAS, "--max-tokens", "9")):
        code, out, err = run(*other, "--replies", str(path), "--resume")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "is of another evaluation" in err
    assert part.read_bytes() == before
    # Nor an evaluation with what a sweep has begun.
    files = (str(folder / "trio.toml"), str(folder / "questions"))
    systems = ("--systems", "proxy,proxy/alpha=0,proxy/alpha=2")
    assert main(["eval", *files, *systems, "--replies", str(path), "--resume"]) == 2
    assert run(*ALPHAS, "--replies", str(path), "--resume")[0] == 0


# The plot


def test_a_missing_matplotlib_is_told_before_anything_is_loaded(
    run: Run, folder: Path, sessions: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = run(*ALPHAS, "--plot", str(folder / "a.png"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--plot draws with matplotlib" in err
    assert "pip install 'edgeproxy[plot]'" in err
    assert sessions == []
    assert run(*ALPHAS)[0] == 0  # no plot, no need for it


def test_a_plot_that_cannot_be_written_takes_nothing_else_with_it(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    path = folder / "replies"
    monkeypatch.setattr(sweep_plot, "replacing", full)
    plot = folder / "a.png"
    code, out, err = run(*ALPHAS, "--plot", str(plot), "--replies", str(path))
    assert code == 1
    assert out.splitlines()[3].split()[0] == "2"
    assert err == f"edgeproxy: {plot}: No space left on device; the plot was not drawn\n"
    assert len(replies_in(path)) == 9


def test_a_plot_does_not_overwrite_the_questions(run: Run, folder: Path) -> None:
    code, _, err = run(*ALPHAS, "--plot", str(folder / "a.svg"), "--replies", str(folder / "a.svg"))
    assert (code, err.count("\n")) == (2, 1)
    assert "would overwrite" in err


# With real weights


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_killed_sweep_goes_on(factbook: Path, tmp_path: Path) -> None:
    questions, path = factbook.parent / "questions.jsonl", tmp_path / "replies"
    sweep = ["sweep", str(factbook), str(questions), "--limit", "6", "--alpha", "0,0.5,1"]
    command = [sys.executable, "-m", "edgeproxy", *sweep, "--replies", str(path), "--json"]
    part = tmp_path / "replies.part"
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not part.exists() or part.read_bytes().count(b"\n") < 5:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    child.kill()
    child.wait()
    kept = part.read_bytes()
    first = kept[: kept.rindex(b"\n") + 1]
    if kept == first:  # as if the kill had come amid a line
        part.write_bytes(kept + kept[:20])
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["n"] for each in found["settings"]] == [6, 6, 6]
    whole = path.read_text()
    again = tmp_path / "again"
    command[command.index(str(path))] = str(again)
    assert subprocess.run(command, capture_output=True).returncode == 0

    def texts(lines: str) -> list[str]:
        return [json.loads(line)["reply"] for line in lines.splitlines()]

    assert texts(again.read_text()) == texts(whole)


@pytest.mark.weights
def test_drafts_change_no_figure_of_a_real_trio(
    factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = str(factbook.parent / "questions.jsonl")
    sweep = ["sweep", str(factbook), questions, "--limit", "4", "--alpha", "0,1", "--json"]
    found = []
    for draft in ("off", "auto"):
        assert main([*sweep, "--draft", draft]) == 0
        found.append(json.loads(capsys.readouterr().out)["settings"])
    for one, other in zip(*found, strict=True):
        for key in ("accuracy", "changed", "tokens"):
            assert one[key] == other[key]
    assert found[0][0]["changed"] == 0.0 < found[0][1]["changed"]
