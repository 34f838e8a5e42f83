"""`--prompt-cache` on the command line: with models that answer from a table, and as a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.cli.ui import output
from edgeproxy.session.load import load
from edgeproxy.trios.find import read_recipe
from tests.cli.test_cli_weights import PROGRAM, SECONDS, edgeproxy, posix, refused
from tests.helpers.command_line import Run
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel

SYSTEM = "Be terse."
TOTAL = len(f"{SYSTEM}\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "system.prefix"


def asked(path: Path, *more: str, system: str = SYSTEM) -> Sequence[str]:
    return ["--system", system, "--prompt-cache", str(path), *more]


def renew(models: Sequence[FakeModel]) -> None:
    """What the models have read goes with their process; they are the same in all tests' runs."""
    for model in models:
        model.history.clear()
        model.evals.clear()


def test_a_cache_is_made_and_used(run: Run, path: Path, models: list[FakeModel]) -> None:
    for spared in (0, TOTAL):
        renew(models)
        code, out, err = run("run", "Hi", *asked(path, "--stats", "--draft", "off"))
        assert (code, out) == (0, "Hello.\n")
        said = f", system message of {TOTAL} tokens, {spared} of them from {path}, in "
        assert said in err
        assert err.count("\n") == 1
        assert sum(map(len, models[0].evals)) == TOTAL - spared + len("Hi\n") + len("Hello.")


def test_chat_uses_it_too(run: Run, path: Path, models: list[FakeModel]) -> None:
    run("run", "Hi", *asked(path))
    renew(models)
    arguments = asked(path, "--stats", "--draft", "off")
    code, out, err = run("chat", *arguments, stdin=b"Hi\n/reset\nHi\n")
    assert (code, out) == (0, "Hello.\nHello.\n")
    assert err.count(f"{TOTAL} of them from {path}") == 2
    assert SYSTEM.encode() not in b"".join(map(bytes, models[0].evals))


def test_another_message_is_told_in_a_line(run: Run, path: Path, models: list[FakeModel]) -> None:
    run("run", "Hi", *asked(path))
    renew(models)
    assert run("run", "Hi", *asked(path, system="Be polite.")) == (
        0,
        "Hello.\n",
        f"warning: {path}: it holds another system message; it was made anew\n",
    )
    renew(models)
    assert run("run", "Hi", *asked(path, system="Be polite.")) == (0, "Hello.\n", "")


def test_a_terminal_sees_what_takes_long(
    run: Run, path: Path, models: list[FakeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(output.StatusLine, "show", lambda _self, text: told.append(text))
    run("run", "Hi", *asked(path))
    assert told == [
        "reading the system message 0%",
        *(f"writing the prompt cache {share}%" for share in (0, 33, 67)),
    ]


@pytest.mark.parametrize("verb", [["run", "Hi"], ["chat"]], ids=lambda verb: verb[0])
def test_what_cannot_be_used_is_refused_before_anything_is_loaded(
    run: Run, sessions: list[FakeSession], path: Path, verb: list[str]
) -> None:
    path.write_text("My letters.\n")
    for arguments, said in (
        (["--prompt-cache", str(path.with_name("new"))], "give one with --system"),
        (asked(path.with_name("new"), system=""), "give one with --system"),
        (asked(path), "this is not a prompt cache, so it is left as it is"),
        (asked(path.parent), "it is a directory"),
        (asked(path / "none" / "new"), "cannot be a prompt cache|no such folder"),
    ):
        code, out, err = run(*verb, *arguments, stdin=b"Hi\n")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert re.search(said, err), err
    assert sessions == []
    assert path.read_text() == "My letters.\n"


# As a process, over the trio that ships

LONG = "You are a careful assistant who knows The World Factbook and is terse. " * 12
QUESTION = "What is the capital of Mongolia?"


@pytest.mark.weights
def test_a_long_message_is_read_once(path: Path, factbook: Path) -> None:
    plain = edgeproxy("run", QUESTION, "--system", LONG)
    found = []
    for _ in range(2):
        code, out, err = edgeproxy("run", QUESTION, *asked(path, "--stats", system=LONG))
        assert (code, out) == plain[:2]
        assert err.count("\n") == 1
        wanted = r", system message of (\d+) tokens, (\d+) of them from \S+, in \d+\.\d\d s, "
        numbers = re.search(wanted, err)
        assert numbers, err
        found.append([int(number) for number in numbers.groups()])
    (total, none), (again, all_of_it) = found
    assert total == again == all_of_it > 100
    assert none == 0
    code, out, err = edgeproxy("chat", *asked(path, system=LONG), stdin=QUESTION.encode())
    assert (code, out, err) == plain


@pytest.mark.weights
def test_a_damaged_file_is_made_anew(path: Path, factbook: Path) -> None:
    with load(read_recipe(factbook)) as session:
        session.cache_prompt(LONG, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, _, err = edgeproxy("run", QUESTION, *asked(path, system=LONG))
    assert (code, err) == (0, f"warning: {path}: it is damaged; it was made anew\n")
    refused(2, "run", QUESTION, *asked(factbook.with_name("base.gguf")), said="left as it is")


@posix
@pytest.mark.weights
def test_ctrl_c_while_the_message_is_read(path: Path, factbook: Path) -> None:
    # The child interrupts itself, so that it is neither done nor yet to begin.
    program = """
import os, signal, sys
from edgeproxy.cli import main
from edgeproxy.llama import LlamaModel
signal.signal(signal.SIGINT, signal.default_int_handler)
decode = LlamaModel._decode
def interrupted(self, batch, n):
    os.kill(os.getpid(), signal.SIGINT)
    decode(self, batch, n)
LlamaModel._decode = interrupted
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *("run", QUESTION), *asked(path, system=LONG)],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"edgeproxy: interrupted\n"
    assert list(path.parent.iterdir()) == []


@posix
@pytest.mark.weights
def test_two_processes_at_once(path: Path, factbook: Path) -> None:
    arguments = [*PROGRAM, "run", QUESTION, *asked(path, system=LONG)]
    children = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = {child.communicate(timeout=SECONDS) for child in children}
    assert len(said) == 1
    assert [child.returncode for child in children] == [0, 0]
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names are what matters
    with load(read_recipe(factbook)) as session:
        done = session.cache_prompt(LONG, path)
    assert done.spared == done.tokens
