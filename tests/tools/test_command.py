"""`tools.command`: what every tool's command line does with results, errors and Ctrl-C."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import Cancelled, EngineError, ManifestError, UsageError
from tools import command

Work = Callable[[argparse.Namespace, Working], Any]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line of one number over a piece of work."""

    def run(work: Work, *arguments: str) -> int:
        parser = command.make_parser("tools.weather", "Tell the weather.")
        parser.add_argument("--days", type=command.at_least(1), default=3)
        command.add_json(parser)
        monkeypatch.setattr(sys, "argv", ["weather.py", *arguments])
        return command.run(parser, work, lambda found: f"days: {found['days']}")

    return run


def found(asked: argparse.Namespace, _working: Working) -> dict[str, Any]:
    return vars(asked)


def raising(error: BaseException) -> Work:
    def work(_asked: argparse.Namespace, _working: Working) -> None:
        raise error

    return work


def test_what_was_found_is_printed(
    tool: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(found, "--days", "2") == 0
    assert capsys.readouterr() == ("days: 2\n", "")
    assert tool(found, "--json") == 0
    assert capsys.readouterr() == ('{\n  "days": 3\n}\n', "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("not so"), 2, "not so"),
        (ManifestError("no trio"), 2, "no trio"),
        (EngineError("it failed"), 1, "it failed"),
        (OSError(errno.ENOSPC, "No space left on device", "x.gguf"), 1, "x.gguf: No space left"),
        (MemoryError(), 1, "not enough memory"),
        (Cancelled("it was cancelled"), 130, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(
    tool: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    assert tool(raising(error)) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("python -m tools.weather: ")
    assert said in err


def test_a_mistake_of_the_tools_own_is_not_hidden(tool: Callable[..., int]) -> None:
    with pytest.raises(ZeroDivisionError):
        tool(raising(ZeroDivisionError()))


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", ""])
def test_wrong_usage_is_told_by_the_parser(
    tool: Callable[..., int], capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        tool(found, "--days", wrong)
    assert ended.value.code == 2
    assert f"python -m tools.weather: error: argument --days: {wrong!r}" in capsys.readouterr().err


def test_the_help_is_the_modules_docstring(
    tool: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool(found, "--help")
    assert "Tell the weather." in capsys.readouterr().out


def test_ctrl_c_ends_the_work_where_it_next_tells_what_it_does(
    tool: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def work(_asked: argparse.Namespace, working: Working) -> None:
        working.tell("before")
        signal.raise_signal(signal.SIGINT)
        told.append("goes on")
        working.tell("after")
        told.append("never")

    assert tool(work) == 130
    assert told == ["goes on"]
    assert capsys.readouterr().err == "python -m tools.weather: interrupted\n"


def test_every_tool_with_arguments_uses_it() -> None:
    folder = Path(command.__file__).parent
    others = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "argparse.ArgumentParser(" in path.read_text("utf-8") and path.name != "command.py"
    ]
    # `real` goes on where some of what it gets is out of reach.
    assert others == ["models/real.py"]
