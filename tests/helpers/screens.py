"""Terminals for tests, in tmux: keys go in, and what a person sees comes out as text."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

SECONDS = 60
"""How long a screen may take to show what is waited for; a busy machine is slow."""

_PAUSE = 0.05
_UNSET = ("NO_COLOR", "COLUMNS", "LINES", "COLORTERM", "PROMPT_TOOLKIT_NO_CPR")
_numbers = itertools.count()
_ROOT = Path(__file__).parent.parent.parent


def need_tmux() -> None:
    """Skip the test where tmux is not installed; in continuous integration that is a failure."""
    if shutil.which("tmux") is None:
        why = "tmux is not installed, so what a chat looks like is not tried"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


class Screen:
    """A terminal of `width` by `height` in which `command` runs; use it as a context manager."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        width: int = 80,
        height: int = 24,
        after: str = "",
    ) -> None:
        self._socket = f"edgeproxy-test-{os.getpid()}-{next(_numbers)}"
        given = {"PYTHONPATH": str(_ROOT), **environment}
        unset = [word for name in _UNSET for word in ("-u", name)]
        words = ["env", *unset, *(f"{k}={v}" for k, v in given.items()), *command]
        shell = f"{shlex.join(words)} {after}; echo exit code $?; exec cat"
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("-f", os.devnull, "new-session", "-d", *size, shell)
        self._tmux("set-option", "-g", "status", "off")

    def _tmux(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True,
            encoding="utf-8",
            input=given,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, text: str) -> None:
        """Type `text`, key by key."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, C-c, M-Enter, Tab."""
        self._tmux("send-keys", *keys)

    def say(self, text: str) -> None:
        """Type `text` and press Enter."""
        self.write(text)
        self.press("Enter")

    def paste(self, text: str) -> None:
        """Paste `text` as a terminal does, between marks where the program asked for them."""
        self._tmux("load-buffer", "-", given=text)
        self._tmux("paste-buffer", "-p")

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def lines(self, *, styled: bool = False) -> list[str]:
        """What is seen, and what has scrolled up, without blanks at the ends."""
        out = self._tmux("capture-pane", "-p", "-S", "-", *(["-e"] if styled else []))
        lines = [line.rstrip() for line in out.splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def text(self) -> str:
        """The same as one text, blank lines left out and figures of speed made the same."""
        text = "\n".join(line for line in self.lines() if line)
        text = re.sub(r"[\d.,]+ tokens/s", "N tokens/s", text)
        return re.sub(r"\d+% accepted", "N% accepted", text)

    def wait_for(self, *wanted: str, gone: str = "") -> str:
        """Wait until all of these are seen, and `gone` is not; the text then."""
        deadline = time.monotonic() + SECONDS
        while True:
            text = self.text()
            if all(each in text for each in wanted) and not (gone and gone in text):
                return text
            assert time.monotonic() < deadline, f"{wanted} not seen in:\n{text}"
            time.sleep(_PAUSE)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False
        )


PYTHON = sys.executable
