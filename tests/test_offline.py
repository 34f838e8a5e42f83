"""Once installed, no verb opens a socket: under a hook that refuses every one, and in a network
namespace without interfaces.

A verb that is in none of the lists below fails this test: say which it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.cli import VERBS
from tests.helpers.indexes import make_index, write
from tests.helpers.network import without_network
from tests.helpers.small_models import write_examples

NETWORKED = {"pull", "serve"}
"""Verbs that are there to use a network; all others never do."""

QUICK = ["--max-tokens", "4"]
LINES: dict[str, list[list[str]]] = {
    "chat": [["chat", *QUICK], ["chat", "--trio", "factbook-phi", *QUICK]],
    "run": [["run", "Hello", *QUICK], ["run", "Hello", "--trio", "nothing-like-it"]],
    "explain": [["explain", "Hello", *QUICK, "--html", "{folder}/page.html"]],
    "add": [
        ["add", "{base}"],
        ["add", "mine", "--base", "{base}", "--expert", "{base}", "--anti-expert", "{base}"],
    ],
    "tune": [
        ["tune", "{examples}", "--small", "{anti-expert}", "--base", "{base}", "-o", "{folder}/m"]
    ],
    "ls": [["ls"], ["ls", "--all"]],
    "show": [["show"]],
    "verify": [["verify"]],
    "rm": [["rm", "factbook", "--yes"]],
    "eval": [["eval", "factbook", "{questions}", "--limit", "2"]],
    "sweep": [["sweep", "factbook", "{questions}", "--limit", "1", "--alpha", "0,1"]],
    "fit": [["fit", "factbook", "{questions}", "--limit", "2", "--dry-run"]],
    "bench": [["bench", "--repeats", "1", "--max-tokens", "4"]],
    "doctor": [["doctor"]],
    "index": [
        ["index", "{documents}", "-o", "{folder}/new.sqlite", "--trio", "factbook"],
        ["index", "ls"],
        ["index", "show", "{index}"],
        ["index", "search", "{index}", "word"],
        ["index", "rm", "{index}", "--yes"],
    ],
    "sessions": [["sessions", "ls"], ["sessions", "search", "word"], ["sessions", "rm", "none"]],
    "bundle": [
        ["bundle", "create", "factbook", "-o", "{folder}/new.bundle"],
        ["bundle", "verify", "{bundle}"],
        ["bundle", "install", "{bundle}"],
    ],
    "completion": [["completion", "bash"], ["completion", "zsh"], ["completion", "fish"]],
    "pull": [],
    "serve": [],
}
"""What is tried of each verb; wrong usage must not look anything up either."""

HOOK = """
import os, sys

def refuse(event, arguments):
    if event.startswith("socket."):
        with open(os.environ["SOCKETS"], "a") as file:
            file.write(f"{event} {arguments!r}\\n")
        raise PermissionError(f"no sockets here: {event}")

sys.addaudithook(refuse)
"""
RUN = HOOK + "from edgeproxy.cli import main\nsys.exit(main())\n"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=5)
except OSError as error:
    print(type(error).__name__, error.errno, error)
"""
UNREACHABLE = "Network is unreachable"


def run(
    before: Sequence[str], code: str, arguments: list[str], tmp_path: Path
) -> tuple[subprocess.CompletedProcess[str], str]:
    """A child that ran `code`, and the sockets that it tried to open."""
    seen = tmp_path / "sockets"
    environment = os.environ | {"SOCKETS": str(seen), "EDGEPROXY_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [*before, sys.executable, "-c", code, *arguments],
        input="Hello\n",
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    return done, seen.read_text() if seen.exists() else ""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trio that ships, to be carried."""
    path = tmp_path_factory.mktemp("bundle") / "factbook.bundle"
    command = [sys.executable, "-m", "edgeproxy", "bundle", "create", "factbook", "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_every_verb_has_a_line_here() -> None:
    assert set(VERBS) <= set(LINES), "a new verb must say what of it is shown to be offline"
    assert {verb for verb in VERBS if not LINES[verb]} <= NETWORKED


@pytest.mark.weights
@pytest.mark.parametrize(
    "line", [line for verb in VERBS if verb in LINES for line in LINES[verb]], ids=" ".join
)
def test_a_verb_opens_no_socket(
    line: list[str], factbook: Path, bundle: Path, tmp_path: Path
) -> None:
    questions = factbook.parent / "questions.jsonl"
    places = {"questions": questions, "bundle": bundle, "folder": tmp_path}
    places |= {name: factbook.parent / f"{name}.gguf" for name in ("base", "anti-expert")}
    places["examples"] = write_examples(tmp_path / "examples.jsonl", count=6)
    places |= {"documents": tmp_path / "documents", "index": tmp_path / "index.sqlite"}
    make_index(places["index"], write(places["documents"] / "a.txt", "a word").parent)
    arguments = [word.format(**places) for word in line]
    done, seen = run(without_network(), RUN, arguments, tmp_path)
    assert seen == ""
    fails = "nothing-like-it" in line or line[0] == "rm" or line[:2] == ["sessions", "rm"]
    if line[0] == "doctor":  # 1 where it found something urgent on this machine
        assert done.returncode in (0, 1), done.stderr
    else:
        assert (done.returncode != 0) == fails, done.stderr
    assert "bug in edgeproxy" not in done.stderr


def test_the_hook_sees_a_connection(tmp_path: Path) -> None:
    done, seen = run([], HOOK + CONNECT, ["127.0.0.1"], tmp_path)
    assert "PermissionError" in done.stdout
    assert seen.startswith("socket.")


def test_the_namespace_has_no_way_out(tmp_path: Path) -> None:
    done, _ = run(without_network(), CONNECT, ["192.0.2.1"], tmp_path)
    assert UNREACHABLE in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_prompt_on_a_terminal_has_only_a_pair_of_its_own(tmp_path: Path) -> None:
    """The line editor's event loop wakes itself through a pair of connected Unix sockets.

    They have no address and reach no other process: they are the only ones, and are let through.
    """
    import pty

    code = HOOK.replace(
        'if event.startswith("socket."):',
        'if event.startswith("socket.") and not (\n'
        '        event == "socket.__new__" and len(arguments) > 1 and arguments[1] == AF_UNIX):',
    ).replace("import os, sys", "import os, sys\nfrom socket import AF_UNIX")
    code += (
        "from edgeproxy.cli.chatting.editor import Editor\n"
        "from edgeproxy.cli.chatting.line_history import LineHistory\n"
        "Editor._bottom = lambda editor: ''\n"  # it would tell of a chat
        "print('READ', Editor(None, LineHistory(None))(), file=sys.stderr)\n"
    )
    seen = tmp_path / "sockets"
    master, slave = pty.openpty()
    command = [*without_network(), sys.executable, "-c", code]
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=os.environ | {"SOCKETS": str(seen), "TERM": "dumb"},
    ) as child:
        os.close(slave)
        os.write(master, b"hello\r")
        _, errors = child.communicate(timeout=60)
    os.close(master)
    assert b"READ hello" in errors, errors
    assert not seen.exists()
