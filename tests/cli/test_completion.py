"""`edgeproxy completion`: the script that a shell reads, and what it is then told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.cli import VERBS, main
from edgeproxy.trios.find import pullable_names, shipped_names
from tests.helpers.screens import Screen, need_tmux


def completed(*words: str) -> list[str]:
    """What bash would be told that the last word may be."""
    environment = {
        **os.environ,
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_EDGEPROXY_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [sys.executable, "-m", "edgeproxy"],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
        encoding="utf-8",
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_edgeproxy(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    assert f"_EDGEPROXY_COMPLETE={shell}_complete" in found.out
    assert "_edgeproxy_completion" in found.out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


def test_verbs_are_completed() -> None:
    assert completed("edgeproxy", "co") == ["completion"]
    assert completed("edgeproxy", "") == list(VERBS)


@pytest.mark.parametrize(
    "words", [("chat", "--trio"), ("run", "--trio"), ("show",), ("bench",), ("eval",), ("verify",)]
)
def test_trios_are_completed_by_name(words: tuple[str, ...]) -> None:
    assert completed("edgeproxy", *words, "") == shipped_names()
    assert completed("edgeproxy", *words, "factbook-") == ["factbook-phi"]


def test_installed_trios_are_completed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path))
    (tmp_path / "trios" / "mine").mkdir(parents=True)
    assert completed("edgeproxy", "chat", "--trio", "mi") == ["mine"]
    (tmp_path / "trios" / "mine").rmdir()
    (tmp_path / "trios").rmdir()
    (tmp_path / "trios").write_text("no folder")
    assert completed("edgeproxy", "chat", "--trio", "fact") == shipped_names()


def test_recipes_are_completed_for_pull() -> None:
    assert completed("edgeproxy", "pull", "phi2-") == [
        name for name in pullable_names() if name.startswith("phi2-")
    ]


def test_what_is_no_word_is_no_error() -> None:
    completed("edgeproxy", "nonsense", "")  # which says nothing on standard error
    assert completed("edgeproxy", "chat", "--nonsense", "x") == []


def shell_named(name: str) -> str:
    """Where a shell is; without it the test is skipped, and fails in continuous integration."""
    found = shutil.which(name)
    if found is not None:
        return found
    why = f"{name} is needed to try the script: `make programs` installs it"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def make_program(folder: Path) -> None:
    """Have `edgeproxy` in `folder`, to be found by shells."""
    program = folder / "edgeproxy"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgeproxy "$@"\n')
    program.chmod(0o755)


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    bash = shell_named("bash")
    make_program(tmp_path)
    script = (
        f'PATH={tmp_path}:$PATH; eval "$(edgeproxy completion bash)"; '
        "COMP_WORDS=(edgeproxy chat --trio factbook-); COMP_CWORD=3; "
        "_edgeproxy_completion edgeproxy; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        [bash, "--norc", "-c", script], capture_output=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (b"factbook-phi\n", b"")


def test_fish_completes_with_the_script(tmp_path: Path) -> None:
    fish = shell_named("fish")
    make_program(tmp_path)
    script = (
        f"set -x PATH {tmp_path} $PATH; edgeproxy completion fish | source; "
        "complete -C 'edgeproxy chat --trio factbook-'"
    )
    done = subprocess.run(
        [fish, "--no-config", "-c", script],
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"factbook-phi\n", b"")


def test_zsh_completes_with_the_script(tmp_path: Path) -> None:
    zsh = shell_named("zsh")
    need_tmux()
    make_program(tmp_path)
    functions = tmp_path / "functions"
    functions.mkdir()
    (tmp_path / "rc").write_text(
        f"path=({tmp_path} $path); edgeproxy completion zsh > {functions}/_edgeproxy\n"
        f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump\n"
        "PS1='ready> '\n"
    )
    with Screen([zsh, "-f"], {"HOME": str(tmp_path)}, width=120) as screen:
        screen.say(f"source {tmp_path}/rc")
        screen.wait_for("ready>")
        screen.write("edgeproxy chat --trio factbook-")
        screen.press("Tab")
        screen.wait_for("ready> edgeproxy chat --trio factbook-phi")
        screen.press("C-u")
        screen.write("edgeproxy s")
        screen.press("Tab")
        screen.wait_for("show ", "sweep ", f"-- {VERBS['sessions']}")
