"""What tests of the command line share: what models say, who types, and where Ctrl-C is pressed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.cli import main
from tests.helpers.fakes import FakeModel, fake_vocab, script

Run = Callable[..., tuple[int, str, str]]
"""Runs the command line: exit code, standard output, standard error."""

REPLIES = {
    "Hi\n": "Hello.",
    "Lines\n": "one\ntwo",
    "Capital?\n": "It is Lima.\nAnd more",
    "Escape\n": "\x1b[31mred\u202e",
    "Unicode\n": "Ünïcödé 🙂",
}

FAKE_TRIO = 'name = "fake"\n' + "".join(
    f'[{role}]\nfile = "none.gguf"\n' for role in ("base", "expert", "anti_expert")
)
"""A manifest for who loads fakes."""


def run_with(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Run the command line: exit code, and what it printed to standard output and error."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


class Typist:
    """Types these lines; an exception among them is raised, and the end is Ctrl-D."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self._lines = list(lines)

    def __call__(self, text: str = "") -> str:
        line = self._lines.pop(0) if self._lines else EOFError
        if isinstance(line, str):
            return line
        raise line


def pressing_after(n: int, presses: int = 1) -> FakeModel:
    """A model during whose n-th eval Ctrl-C is pressed; it would talk for ever."""
    vocab = fake_vocab()
    evals = 0

    def row(_history: Sequence[int]) -> NDArray[np.float32]:
        nonlocal evals
        evals += 1
        if evals == n:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        return script({"": "a"}, vocab)([])

    return FakeModel(row, vocab=vocab)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def replies_in(path: Path) -> list[tuple[str, str]]:
    """The system and the text of each reply in a file of replies, whole or cut short."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["system"], line["reply"]) for line in found if "run" not in line]


def untimed(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of replies, without how fast each was."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["took"]["tokens_per_second"]
    return lines
