"""Fixtures of the command line's tests: it runs in this process, over models that are tables."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli import main
from edgeproxy.session import load as loader
from tests.helpers.command_line import FAKE_TRIO, REPLIES, Run
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, saying


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests themselves run behind `nohup`."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def models() -> list[FakeModel]:
    return [saying(REPLIES) for _ in range(3)]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, models: list[FakeModel]) -> list[FakeSession]:
    """The sessions opened so far; `loader.load` opens fakes of `models`."""
    made: list[FakeSession] = []

    def load(trio: object, *, cancel: object, **asked: Any) -> FakeSession:
        made.append(FakeSession(models, trio=trio, **asked))
        return made[-1]

    monkeypatch.setattr(loader, "load", load)
    return made


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sessions: list[FakeSession],
) -> Run:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def trio(tmp_path: Path) -> Path:
    """The manifest of a trio whose files are not there."""
    path = tmp_path / "trio.toml"
    path.write_text(FAKE_TRIO)
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A file of two questions that `REPLIES` answers."""
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"question": "Capital?", "answer": ["Quito", "Lima"], "kind": "city"}\n'
        '{"question": "Lines", "answer": "two", "kind": "line"}\n'
    )
    return path
