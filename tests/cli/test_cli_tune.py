"""`edgeproxy tune` as it is typed, through to a trio that answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeproxy.cli import main
from edgeproxy.errors import EngineError
from edgeproxy.tune import run as walk
from edgeproxy.tune.checkpoint import Checkpoint
from tests.helpers.command_line import Run
from tests.helpers.disks import cannot, small_disk
from tests.helpers.small_models import small_model, write_examples

QUICK = ("--rate", "0.02", "--rank", "4", "--epochs", "2", "--threads", "1", "--dtype", "float32")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is typed: two models and a file of examples."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    small_model(tmp_path / "small.gguf")
    small_model(tmp_path / "large.gguf", width=64, seed=1)
    write_examples(tmp_path / "examples.jsonl")
    return tmp_path


@pytest.fixture
def tune(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Tune with these options more: exit code, standard output, standard error."""

    def run(*options: str, examples: str = "examples.jsonl") -> tuple[int, str, str]:
        code = main(["tune", examples, *QUICK, *options])
        return code, *capsys.readouterr()

    return run


TRIO = ("--small", "small.gguf", "--base", "large.gguf", "-o", "mine")


def test_from_examples_to_a_reply(
    tune: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = tune(*TRIO)
    assert (code, out) == (0, "")
    assert "JSON lines of question and answer: 20 examples" in err
    assert "small.gguf, llama, 0.0" in err
    assert "held-out loss" in err
    assert "llama.cpp says the same" in err
    *_, written, chat, fit = err.splitlines()
    assert written == "written   mine: adapter.gguf, trio.toml, and how it was made"
    assert chat == "next      edgeproxy chat --trio mine"
    assert fit == "          edgeproxy fit mine QUESTIONS.jsonl"
    for verb in (["run", "--trio", "mine", "What is 3?", "--max-tokens", "3"], ["show", "mine"]):
        assert main(verb) == 0, capsys.readouterr().err
    assert "adapter.gguf" in capsys.readouterr().out


def test_with_json_there_is_one_object(tune: Run) -> None:
    code, out, err = tune(*TRIO, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["folder"], found["trio"], found["new"]) == ("mine", "mine/trio.toml", True)
    assert found["result"]["best_loss"] < found["result"]["first_loss"]
    assert found["adapter"]["file"] == "adapter.gguf"
    assert "held-out loss" in err
    _, again, _ = tune(*TRIO, "--json")
    assert json.loads(again) == {**found, "new": False}


def test_quiet_says_nothing(tune: Run) -> None:
    assert tune(*TRIO, "--quiet") == (0, "", "")


def test_without_a_base_it_says_how_to_add_one(tune: Run) -> None:
    code, _, err = tune("--small", "small.gguf", "-o", "mine")
    assert code == 0
    assert err.splitlines()[-1] == (
        "next      the same command with --base LARGE.gguf makes a trio of it, at once"
    )


def test_the_large_model_itself(tune: Run) -> None:
    tune(*TRIO)
    code, _, err = tune("--direct", "large.gguf", "-o", "mine")
    assert code == 0, err
    assert "tuned.gguf" in err


def test_csv_with_named_columns(tune: Run, folder: Path) -> None:
    lines = ["ask,say", *(f"What is {n}?,It is {n}." for n in range(9))]
    (folder / "table.csv").write_text("\n".join(lines))
    code, _, err = tune(*TRIO, "--columns", "ask,say", examples="table.csv")
    assert code == 0, err
    assert "CSV of ask and say: 9 examples" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "mine"), "name the model to tune: --small"),
        (("--small", "small.gguf", "--direct", "large.gguf", "-o", "mine"), "name the model"),
        (("--direct", "large.gguf", "--base", "large.gguf", "-o", "mine"), "leave out --base"),
        (("--small", "small.gguf"), "Missing option '-o'"),
        ((*TRIO, "--columns", "one"), "name two with a comma between"),
        ((*TRIO, "--columns", "one,"), "name two with a comma between"),
        ((*TRIO, "--prompt", "none"), "there is no prompt format 'none'"),
        ((*TRIO, "--prompt", "gguf"), "carries no chat template"),
        ((*TRIO, "--rate", "-1"), "rate must be between"),
        ((*TRIO, "--rate", "nan"), "rate must be between"),
        ((*TRIO, "--minutes", "0"), "minutes must be between"),
        ((*TRIO, "--epochs", "0"), "--epochs"),
        ((*TRIO, "--ctx", "3"), "longer than 3 tokens"),
        (("--small", "none.gguf", "-o", "mine"), "none.gguf: there is no such file"),
        (("--small", "small.gguf", "--base", "none.gguf", "-o", "mine"), "none.gguf"),
        (("--small", "examples.jsonl", "-o", "mine"), "examples.jsonl"),
    ],
)
def test_what_is_impossible_is_one_line(options: tuple[str, ...], said: str, tune: Run) -> None:
    code, out, err = tune(*options)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert "bug in edgeproxy" not in err


def test_a_name_that_no_trio_can_have(tune: Run, folder: Path) -> None:
    code, _, err = tune(*TRIO, "--name", "a/b")
    assert code == 1
    assert "'a/b' cannot be the name of a trio" in err
    assert not (folder / "mine").exists()


def test_the_trio_is_called_as_it_is_asked(tune: Run, folder: Path) -> None:
    tune(*TRIO, "--name", "forms")
    assert 'name = "forms"' in (folder / "mine" / "trio.toml").read_text()


def test_examples_that_are_not_there(tune: Run) -> None:
    code, _, err = tune(*TRIO, examples="none.jsonl")
    assert code == 2
    assert "none.jsonl" in err


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing_that_was_there(tune: Run, folder: Path) -> None:
    with small_disk(folder / "mine", 40_000) as is_small:
        if not is_small:
            cannot("no disk can be mounted here")
        code, _, err = tune(*TRIO)
        assert code == 1
        assert "No space left" in err.splitlines()[-1]
        assert not (folder / "mine" / "adapter.gguf").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_at_the_keyboard(folder: Path) -> None:
    """The first press ends training with what there is, and --resume goes on."""
    line = ["tune", "examples.jsonl", *TRIO, *QUICK, "--epochs", "5000"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgeproxy", *line],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as child:
        assert child.stderr is not None
        said = ""
        while "after step" not in said:
            said = child.stderr.readline()
            assert said, "it ended by itself"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 0, rest
    assert "stopped" in rest
    assert "llama.cpp says the same" in rest
    assert (folder / "mine" / "trio.toml").exists()
    assert Checkpoint.read(folder / "mine" / "adapter.checkpoint.npz").position.step > 0


def child(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A Python of its own, in the folder of the files."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        **options,
    )


KEPT = "what was trained is kept; the same command with --resume goes on from there"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize(
    ("stage", "keeps"),
    [
        ("hashing small.gguf", False),
        ("reading examples.jsonl", False),
        ("finding out what is fastest", False),
        ("loading small.gguf", False),
        ("comparing with llama.cpp before training", False),
        ("finding out how many threads are fastest", True),
        ("step 0 of", True),
        ("comparing with llama.cpp: PyTorch reads", True),
        ("comparing with llama.cpp: it reads and replies", True),
    ],
)
def test_ctrl_c_at_each_stage_says_what_is_kept(stage: str, keeps: bool, folder: Path) -> None:
    line = ["tune", "examples.jsonl", *TRIO, *QUICK[:-2]]
    done = child(folder, "-m", "tests.helpers.interrupting", stage, *line)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "edgeproxy: interrupted"
    assert (KEPT in done.stderr) == keeps
    assert "Traceback" not in done.stderr
    assert [path.name for path in folder.glob("mine/*")] == ["adapter.checkpoint.npz"] * keeps
    again = child(folder, "-m", "edgeproxy", *line, "--resume")
    assert again.returncode == 0, again.stderr
    found = sorted(path.name for path in folder.glob("mine/*"))
    assert found == ["adapter.gguf", "trio.toml", "tuning.json"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_in_a_step_writes_the_best_so_far(folder: Path) -> None:
    line = ["tune", "examples.jsonl", *TRIO, *QUICK]
    done = child(folder, "-m", "tests.helpers.interrupting", "step 3 of", *line)
    assert done.returncode == 0, done.stderr
    assert "stopped" in done.stderr
    assert child(folder, "-m", "edgeproxy", *line, "--resume").returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize(
    ("moment", "code"),
    [
        ("call:edgeproxy.tune.run.predictions:1", 130),  # before training, in the trial of threads
        ("call:edgeproxy.tune.train.backward:1", 130),  # in training's trial of threads
        ("call:edgeproxy.tune.checkpoint.replacing:1", 130),  # saving the first state
        ("call:edgeproxy.tune.held_out.total_loss:1", 130),  # there is no step to keep yet
        ("call:edgeproxy.tune.train.backward:5", 0),  # amid a step: the best so far is written
        ("call:edgeproxy.tune.held_out.total_loss:2", 0),
        ("call:edgeproxy.tune.checkpoint.replacing:2", 130),  # saving the last state
        ("call:edgeproxy.tune.run.write_adapter:1", 130),
        ("call:edgeproxy.tune.check.predictions:6", 130),  # the comparison after training
    ],
)
def test_ctrl_c_amid_work_loses_nothing(moment: str, code: int, folder: Path, tune: Run) -> None:
    """Each goes on by --resume, to the bits of a tuning that was let alone."""
    line = ["tune", "examples.jsonl", *TRIO, *QUICK]
    done = child(folder, "-m", "tests.helpers.interrupting", moment, *line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    left = [] if "run.predictions" in moment else ["adapter.checkpoint.npz"]
    assert (KEPT in done.stderr) == bool(code and left)
    left += [] if code else ["adapter.gguf", "trio.toml", "tuning.json"]
    assert sorted(path.name for path in folder.glob("mine/*")) == left
    assert tune(*TRIO, "--resume")[0] == 0
    assert tune("--small", "small.gguf", "-o", "whole")[0] == 0
    made, whole = ((folder / name / "adapter.gguf").read_bytes() for name in ("mine", "whole"))
    assert made == whole


def test_what_llama_cpp_refuses_after_training_says_what_is_kept(
    tune: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its memory ends while it loads the model."""

    said = "small.gguf: llama.cpp cannot load this model: std::bad_alloc"

    def refused(*_: Any) -> None:
        raise EngineError(said)

    monkeypatch.setattr(walk, "check_adapter", refused)
    code, _, err = tune(*TRIO)
    assert code == 1
    assert err.splitlines()[-2:] == [KEPT, f"edgeproxy: {said}"]
    assert [path.name for path in folder.glob("mine/*")] == ["adapter.checkpoint.npz"]


LIMITED = """
import resource, sys
from edgeproxy.cli import main
import torch, edgeproxy.tune.run
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
@pytest.mark.parametrize("megabytes", [1, 10, 20, 40, 80, 160, 320])
def test_too_little_address_space_is_one_error(megabytes: int, folder: Path) -> None:
    line = ["tune", "examples.jsonl", *TRIO, *QUICK]
    done = child(folder, "-c", LIMITED, str(megabytes), *line)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "bug in edgeproxy" not in done.stderr
    if done.returncode == 1:
        assert done.stderr.splitlines()[-1].startswith("edgeproxy: ")
        assert "memory" in done.stderr.splitlines()[-1]
        assert not (folder / "mine" / "adapter.gguf").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_ten_points_it_goes_on_to_the_same_adapter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.killing_tunes", str(tmp_path), "10"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert len(found["left"]) == 10
    assert ["adapter.checkpoint.npz"] in found["left"]
