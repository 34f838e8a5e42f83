"""`tools.processors`: variants there are, those that cannot run here, and tests that fail."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from tools import processors
from tools.processors import UnableError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that holds two variants, as if it had been compiled."""
    path = tmp_path / "llama_cpp_python-0.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("bin/libggml-cpu-haswell.so", "bin/libggml-cpu-x64.so", "bin/libggml-base.so"):
            file.writestr(name, b"")
    monkeypatch.setattr(processors, "FOLDER", tmp_path)
    monkeypatch.setattr(processors, "build_wheel", lambda: path)
    return path


def test_an_unknown_variant_is_told_which_there_are(wheel: Path) -> None:
    with pytest.raises(UsageError, match=r"no variant 'zen9' here; it has haswell, x64"):
        processors.make_environment("zen9")


def environment(folder: Path, wheel: Path, package: str) -> None:
    """An environment that was made before, whose Python imports a `llama_cpp` of this text."""
    (folder / "bin").mkdir(parents=True)
    (folder / "llama_cpp.py").write_text(package)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\ncd "{folder}" && exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / f"made-of-{wheel.stem}").touch()


@pytest.mark.skipif(sys.platform == "win32", reason="the Python is a shell script")
def test_a_variant_that_cannot_run_here_says_so(wheel: Path, tmp_path: Path) -> None:
    environment(tmp_path / "x64", wheel, "")
    assert processors.make_environment("x64") == tmp_path / "x64" / "bin" / "python"
    environment(tmp_path / "haswell", wheel, "raise RuntimeError('this processor cannot run it')")
    with pytest.raises(UnableError, match="this processor cannot run it"):
        processors.make_environment("haswell")


def test_what_an_environment_runs_first_is_python_and_names_one_file() -> None:
    text = processors.LOADER.replace("NAME", "haswell")
    compile(text, "llama_cpp", "exec")
    assert '"libggml-cpu-haswell.so"' in text
    assert "NAME" not in text


Ran = list[tuple[str, list[str]]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What would have been tested: zen4 cannot run here, and tests fail as on haswell."""
    found: Ran = []

    def make(name: str) -> Path:
        if name == "zen4":
            raise UnableError("this processor cannot run zen4")
        return Path(name)

    def run_tests(python: Path, tests: Sequence[str]) -> bool:
        found.append((str(python), list(tests)))
        return str(python) != "haswell"

    monkeypatch.setattr(processors, "make_environment", make)
    monkeypatch.setattr(processors, "run_tests", run_tests)
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["processors", *arguments])
    return processors.main()


def test_what_cannot_run_is_left_out_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ran: Ran
) -> None:
    monkeypatch.setattr(processors, "USUAL", ("sse42", "zen4"))
    assert run(monkeypatch, "--times", "2", "--tests", "tests/llama") == 0
    assert ran == [("sse42", ["tests/llama"])] * 2
    out = capsys.readouterr().out
    assert "sse42, run 2 of 2: passed" in out
    assert "zen4 is left out: this processor cannot run zen4" in out
    assert run(monkeypatch, "zen4") == 1


def test_a_failure_is_told_when_all_have_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ran: Ran
) -> None:
    assert run(monkeypatch, "haswell", "sse42") == 1
    assert [name for name, _ in ran] == ["haswell", "sse42"]
    assert "tests failed as on haswell, run 1 of 1\n" in capsys.readouterr().err
