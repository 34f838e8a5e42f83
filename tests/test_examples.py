"""The examples run: a script, asyncio, and a window that answers while a reply streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.session.session import Session
from tests.conftest import HOW_TO_SHOW, left_out
from tests.helpers.displays import display, has_xvfb
from tests.helpers.fake_worker import fake_load

EXAMPLES = Path(__file__).parent.parent / "examples"
CAPITAL = "The capital of Mongolia is Ulaanbaatar."

pytestmark = pytest.mark.slow


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    folder = str(EXAMPLES.parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)


@pytest.mark.weights
def test_the_script_answers() -> None:
    done = run("script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{CAPITAL}\n"
    assert "tokens read" in done.stderr
    assert "N'Djamena" in run("script.py", "factbook", "What is the capital of Chad?").stdout


def test_the_script_tells_an_error_and_fails() -> None:
    done = run("script.py", "no-such-trio")
    assert done.returncode == 1
    assert "no-such-trio" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.weights
def test_asyncio_answers_several_and_cuts_one_short() -> None:
    done = run("with_asyncio.py")
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.endswith(CAPITAL)
    assert second.endswith("The capital of Chad is N'Djamena.")
    assert third.startswith("cut short: ")


# The window: first what it does without one, then in one


def need_tk() -> None:
    """Leave a test out where Python has no Tk."""
    if find_spec("tkinter") is None:
        left_out("Tk is", HOW_TO_SHOW)


def taken(asking: object, until: str) -> list[tuple[str, str]]:
    """What comes for the window, to the first of the kind `until`."""
    found = []
    while True:
        found.append(asking.came.get(timeout=60))  # type: ignore[attr-defined]
        if found[-1][0] == until:
            return found


@pytest.fixture
def asking() -> Iterator[Callable[[Callable[[], Session]], object]]:
    need_tk()
    from examples.window import Asking

    made: list[Asking] = []

    def make(load: Callable[[], Session]) -> Asking:
        made.append(Asking(load))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_what_is_asked_comes_in_pieces_and_can_be_stopped(
    asking: Callable[[Callable[[], Session]], object],
) -> None:
    made = asking(lambda: fake_load(slow=0.001))
    assert taken(made, "ready") == [("ready", "")]
    made.ask("Hello")  # type: ignore[attr-defined]
    came = taken(made, "end")
    assert "".join(text for kind, text in came if kind == "text") == "Hi, how are you?"
    assert came[-1] == ("end", "stop")
    made.ask("Long")  # type: ignore[attr-defined]
    taken(made, "text")
    made.stop()  # type: ignore[attr-defined]
    assert taken(made, "end")[-1] == ("end", "cancelled")


def test_an_error_is_shown(asking: Callable[[Callable[[], Session]], object]) -> None:
    def load() -> Session:
        raise UsageError("there is no such trio")

    assert taken(asking(load), "error") == [("error", "there is no such trio")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a display without a name")
def test_without_a_display_the_window_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    need_tk()
    monkeypatch.delenv("DISPLAY", raising=False)
    done = run("window.py")
    assert done.returncode == 1
    assert done.stderr.startswith("no window can be shown: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["ask", "stop", "crash"])
def test_the_window_answers_while_a_reply_streams(what: str) -> None:
    need_tk()
    if not has_xvfb():
        left_out("Xvfb is", HOW_TO_SHOW)
    command = [sys.executable, "-m", "tests.helpers.window_child", what]
    with display() as name:
        env = os.environ | {"DISPLAY": name}
        started = time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert time.monotonic() - started < 110
    assert found["ticks"] >= 10
    if what == "ask":
        assert "Hi, how are you?" in found["said"]
    if what == "stop":
        assert 10 < found["said"].count("x") < 256
    if what == "crash":
        assert "SIGSEGV" in found["said"]
