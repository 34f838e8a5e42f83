"""`edgeproxy eval` of a base on a server: several questions at once, what it costs, going on."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.cli import main
from tests.helpers.command_line import Run, untimed
from tests.helpers.fake_server import Reply, Request
from tests.helpers.served_trios import Files, Served, served_file, write_trio

COUNT = 8


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("lanes"))


@pytest.fixture(scope="module")
def served(files: Files) -> Iterator[Served]:
    with served_file(files["base"], slots=3) as found:
        yield found


@pytest.fixture
def folder(files: Files, served: Served, tmp_path: Path) -> Path:
    """A folder with a manifest whose base costs 1 a token, and questions."""
    for role, path in files.items():
        (tmp_path / f"{role}.gguf").symlink_to(path)
    pair = "".join(
        f'[{role}]\nfile = "{role}.gguf"\nprompt = "plain"\n\n'
        for role in ("expert", "anti_expert")
    )
    (tmp_path / "trio.toml").write_text(
        f'name = "tiny"\n\n[base]\nurl = "{served.url}"\ntokenizer = "base.gguf"\n'
        f"price_in = 1000000\n\n{pair}"
    )
    asked = ({"question": f"Question {n}?", "answer": "x"} for n in range(COUNT))
    (tmp_path / "questions").write_text("".join(json.dumps(each) + "\n" for each in asked))
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Evaluate with these options more: exit code, standard output, standard error."""

    def run(*options: str) -> tuple[int, str, str]:
        files = str(folder / "trio.toml"), str(folder / "questions")
        code = main(["eval", *files, "--threads", "1", "--max-tokens", "5", *options])
        return code, *capsys.readouterr()

    return run


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_replies_are_those_of_one_at_a_time(run: Run, folder: Path) -> None:
    found_in = []
    for number, options in enumerate((["--parallel", "1"], ["--parallel", "5"], [])):
        path = folder / f"replies{number}"
        code, out, err = run("--replies", str(path), "--json", "--stats", *options)
        assert code == 0
        found = json.loads(out)
        assert list(found["systems"]) == ["base", "anti_expert", "expert", "proxy"]
        assert found["spent"]["money"] == found["spent"]["tokens_in"] > 0
        found_in.append(untimed(path))
        # The server says that it works on three at once.
        if number:
            many = 5 if number == 1 else 3
            assert f"{many} questions at once, which take " in err
            assert f", {many} questions at once, " in err
        else:
            assert "at once" not in err
    assert found_in[0] == found_in[1] == found_in[2]


def test_a_limit_on_money_is_passed_by_what_is_under_way_alone(run: Run, folder: Path) -> None:
    """The first reply costs more than 1, so no more than the three under way are ever paid for."""
    path = folder / "replies"
    options = ("--replies", str(path), "--systems", "base,proxy", "--parallel", "3")
    code, out, err = run(*options, "--max-cost", "1")
    assert (code, out) == (2, "")
    assert "--max-cost is 1; with --replies and a higher one, --resume goes on" in err
    kept = len(lines(folder / "replies.part")) - 1
    assert 1 <= kept <= 3
    assert f"{kept} of 16 replies are kept" in err
    assert run(*options, "--resume", "--max-cost", "1e6")[0] == 0
    whole = folder / "whole"
    assert run("--replies", str(whole), *options[2:4], "--parallel", "1")[0] == 0
    assert untimed(path) == untimed(whole)


def test_ctrl_c_ends_all_requests_and_keeps_what_came(
    run: Run, served: Served, folder: Path
) -> None:
    """Ctrl-C while three requests are open that the server would answer in minutes only."""
    answered = 13  # by three lanes, for replies of five tokens: one at least is whole
    held: list[Request] = []
    lock = threading.Lock()

    def answer(request: Request) -> object:
        nonlocal answered
        with lock:
            answered -= request.path == "/completion"
            if answered >= 0:
                return served.serving.answer(request)
            held.append(request)
            if len(held) == 3:
                os.kill(os.getpid(), signal.SIGINT)
        return Reply(delay=300.0)

    path = folder / "replies"
    options = ("--replies", str(path), "--systems", "base", "--parallel", "3")
    served.server.answer = answer
    try:
        code, out, err = run(*options)
    finally:
        served.server.answer = served.serving.answer
    assert (code, out) == (130, "")
    assert len(held) == 3
    assert all(request.left.wait(120.0) for request in held)
    kept = len(lines(folder / "replies.part")) - 1
    assert kept >= 1
    assert f"{kept} of 8 replies are kept" in err
    assert run(*options, "--resume")[0] == 0
    assert len(lines(path)) == COUNT


def test_without_a_server_there_is_nothing_to_ask_at_once(
    files: Files, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "here.toml").write_text(
        'name = "here"\n' + "".join(f'[{role}]\nfile = "{role}.gguf"\n' for role in files)
    )
    code = main(["eval", str(folder / "here.toml"), str(folder / "questions"), "--parallel", "2"])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "--parallel is for a base on a server, and all models here are files" in said.err


@pytest.mark.parametrize("count", ["0", "65", "-1", "two"])
def test_impossible_numbers_at_once(run: Run, count: str) -> None:
    code, out, err = run("--parallel", count)
    assert (code, out) == (2, "")
    assert "--parallel" in err


def test_a_sweep_asks_as_many_at_once_and_finds_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lanes begin with the steering that was loaded; each reply has that of its setting."""
    manifest = folder / "trio.toml"
    manifest.write_text(f"alpha = 0.5\n{manifest.read_text()}")
    files = (str(manifest), str(folder / "questions"))
    usual = ("--threads", "1", "--max-tokens", "5", "--alpha", "0,0.5,2", "--json")
    found, texts = [], []
    for count in ("1", "3"):
        path = folder / f"swept{count}"
        options = ("--parallel", count, "--replies", str(path))
        assert main(["sweep", *files, *usual, *options]) == 0
        out, err = capsys.readouterr()
        assert ("3 questions at once, which take " in err) == (count == "3")
        found.append(json.loads(out))
        texts.append([json.loads(line)["reply"] for line in lines(path)])
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > COUNT
    assert found[0]["spent"]["money"] > 0
    for one, other in zip(found[0]["settings"], found[1]["settings"], strict=True):
        assert one["changed"] == other["changed"]
        assert one["tokens"] == other["tokens"] == 5.0
    assert found[0]["settings"][0]["changed"] == 0.0 < found[0]["settings"][2]["changed"]


def test_a_sweep_ends_where_it_has_cost_enough(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (str(folder / "trio.toml"), str(folder / "questions"), "--alpha", "0,1")
    options = ("--threads", "1", "--max-tokens", "5", "--replies", str(folder / "swept"))
    assert main(["sweep", *files, *options, "--parallel", "1", "--max-cost", "1"]) == 2
    err = capsys.readouterr().err
    assert "1 of 16 replies are kept" in err
    assert "--max-cost is 1; with --replies and a higher one, --resume goes on" in err
    assert main(["sweep", *files, *options, "--resume"]) == 0
