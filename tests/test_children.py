"""Children: how they are started from a Python, from a frozen app, and how they have ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy import children
from edgeproxy.children import MODULES, command, how_ended, last_words, main, run, signal_of

JOB = {
    "template": "{{ messages[0]['content'] }}!",
    "conversations": [[{"role": "user", "content": "Hello"}]],
    "variables": {"now": "2024-01-01T00:00:00"},
    "twins": {},
    "seconds": 20,
}

APP = """
import sys
sys.frozen = True
import edgeproxy.worker
edgeproxy.worker.main()
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.children import command
print(command("edgeproxy.worker.child")[1:])
with Renderer() as renderer:
    print(renderer.render("{{ messages[0].content }}!", [("user", "Hello")]))
import edgeproxy
with edgeproxy.load("factbook", isolate=True) as session:
    print("".join(piece.text for piece in session.reply("What is the capital of Mongolia?")))
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROXY_PYTHON", raising=False)
    monkeypatch.setattr(children, "_starts_itself", False)


def test_every_child_is_there_and_has_a_main() -> None:
    from importlib import import_module

    assert all(callable(import_module(module).main) for module in MODULES)


def test_nothing_else_is_run() -> None:
    with pytest.raises(ValueError, match="no child 'os'"):
        run("os")


def test_a_child_is_started_by_this_python_or_by_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert command(MODULES[0])[0] == sys.executable
    monkeypatch.setenv("EDGEPROXY_PYTHON", "another")
    assert command(MODULES[0])[0] == "another"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert command(MODULES[0])[0] == "another"


def test_a_frozen_app_is_its_own_child_once_it_has_called_main(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert command(MODULES[0]) == []
    monkeypatch.setattr(sys, "argv", ["app", "file.txt"])
    main()
    assert command(MODULES[0]) == [sys.executable, "--edgeproxy-child", MODULES[0]]


@pytest.mark.parametrize("module", ["os", "edgeproxy.cli"])
def test_an_app_that_is_asked_to_be_another_child_refuses(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["app", "--edgeproxy-child", module])
    with pytest.raises(ValueError, match="no child"):
        main()


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(sys.platform == "win32", reason="makes an executable of a script")
def test_an_app_whose_executable_is_itself_renders_templates_and_isolates(tmp_path: Path) -> None:
    """As PyInstaller makes one: `sys.executable` is the app, which takes no -c."""
    app = tmp_path / "app"
    code = APP.replace("sys.frozen", f"sys.executable = {str(app)!r}; sys.frozen")
    (tmp_path / "app.py").write_text(code)
    app.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "app.py"}" "$@"\n')
    app.chmod(0o755)
    done = subprocess.run([str(app)], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "['--edgeproxy-child', 'edgeproxy.worker.child']",
        "Hello!",
        "The capital of Mongolia is Ulaanbaatar.",
    ], done.stderr


def test_a_child_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        command("edgeproxy.prompts.jinja"),
        input=json.dumps(JOB).encode() + b"\n",
        capture_output=True,
        cwd=tmp_path,
    )
    assert b"Hello!" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (-9, "SIGKILL", "was ended by SIGKILL"),
        (-11, "SIGSEGV", "was ended by SIGSEGV"),
        (-250, "signal 250", "was ended by signal 250"),
        (7, None, "ended with exit code 7"),
        (0, None, "ended with exit code 0"),
        (0xC0000005, None, "was ended by an access violation"),
        (0xC0000409, None, "was ended by an abort"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_how_a_process_ended(code: int, name: str | None, words: str) -> None:
    assert signal_of(code) == name
    assert how_ended(code) == words


def test_last_words() -> None:
    assert last_words([]) == ""
    assert last_words(["one", "two\x1b[31m", " "]) == "two[31m"
    assert len(last_words(["x" * 1000])) == 200
