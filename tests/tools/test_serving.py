"""`tools.serving`: clients are set up as pinned, and what schemathesis finds is told."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import Cancelled, EdgeproxyError
from tools import docs
from tools.serving import clients, fuzz
from tools.serving.clients import NPM, NPM_FILE, PINS, PYTHONS, Clients, found_clients


class Calls:
    """In place of Python, pip and npm: what was called, and which call fails."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fails: str | None = None

    def __call__(self, command: Sequence[str], what: str, work: Working) -> None:
        self.made.append(" ".join(command[1:]))
        if self.fails and self.fails in self.made[-1]:
            raise Cancelled("interrupted")
        if "venv" in command:
            Path(command[-1]).mkdir(exist_ok=True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    monkeypatch.setattr(clients, "call", found)
    monkeypatch.setattr("shutil.which", lambda name: f"/programs/{name}")
    return found


def set_up(folder: Path) -> Clients:
    return clients.set_up_clients(folder, Working())


def test_clients_are_set_up_as_pinned_and_once(tmp_path: Path, calls: Calls) -> None:
    found = set_up(tmp_path / "new")
    assert found == found_clients(tmp_path / "new")
    assert len(calls.made) == 2 * len(PYTHONS) + 1
    for pins in PYTHONS.values():
        assert any(made.endswith(f"--requirement {PINS / pins}") for made in calls.made)
    package = (found.npm / NPM_FILE).read_bytes()
    assert package == (PINS / NPM_FILE).read_bytes()
    calls.made.clear()
    assert set_up(tmp_path / "new") == found
    assert calls.made == []


@pytest.mark.parametrize("fails", ["-m venv", "requirements.txt", "lm-eval.txt", "--prefix"])
def test_what_was_interrupted_is_gone_on_with(fails: str, tmp_path: Path, calls: Calls) -> None:
    calls.fails = fails
    with pytest.raises(Cancelled):
        set_up(tmp_path)
    with pytest.raises(EdgeproxyError, match=r"python -m tools\.serving clients"):
        found_clients(tmp_path)
    calls.fails = None
    calls.made.clear()
    set_up(tmp_path)
    assert any(fails in made for made in calls.made)


@pytest.mark.parametrize("name", [*PYTHONS, NPM])
def test_other_versions_are_set_up_anew(name: str, tmp_path: Path, calls: Calls) -> None:
    set_up(tmp_path)
    calls.made.clear()
    (tmp_path / name / "complete").write_text("litellm==1\n", "utf-8")
    with pytest.raises(EdgeproxyError, match=name):
        found_clients(tmp_path)
    set_up(tmp_path)
    assert calls.made
    assert all(f"{tmp_path / name}" in made for made in calls.made[:1])


def test_npm_that_is_not_there_is_told(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(EdgeproxyError, match=r"Node\.js"):
        set_up(tmp_path)


def pinned() -> dict[str, str]:
    """The versions of all packages that are pinned."""
    texts = [(PINS / pins).read_text("utf-8") for pins in PYTHONS.values()]
    lines = [line for text in texts for line in text.splitlines() if not line.startswith("#")]
    found = dict(line.split("==") for line in lines)
    package = json.loads((PINS / NPM_FILE).read_text("utf-8"))
    return found | {f"npm {name}": each for name, each in package["dependencies"].items()}


def test_every_version_is_exact_and_the_docs_name_it() -> None:
    found = pinned()
    assert all(re.fullmatch(r"[0-9]+(\.[0-9]+)+", version) for version in found.values())
    text = (docs.REPOSITORY / "docs" / "serve.md").read_text("utf-8")
    # These are no clients.
    for name in found.keys() - {"datasets", "schemathesis"}:
        assert f" {found[name]} |" in text, name
    project = (docs.REPOSITORY / "pyproject.toml").read_text("utf-8")
    assert f'"openai=={found["openai"]}"' in project


REPORT: dict[str, Any] = {
    "schemathesis_version": "4",
    "running_time": 60.0,
    "operations": {"tested": 10},
    "test_cases": {"generated": 1234},
    "failures": [],
    "errors": [],
    "valid_rates": {
        "POST /a": {
            "coverage": {"accepted": 1, "rejected": 2},
            "fuzzing": {"accepted": 2, "rejected": 1},
        },
        "GET /b": {"coverage": {"accepted": 0, "rejected": 0}},
    },
}
FAKE = """\
import pathlib, sys
arguments = sys.argv[1:]
print("asked", arguments[0])
path = arguments[arguments.index("--report-json-path") + 1]
if {report!r}:
    pathlib.Path(path).write_text({report!r})
"""


class FakeServing:
    """In place of a server."""

    def __init__(self, trio: str, *options: str) -> None:
        self.url = "http://127.0.0.1:1"
        self.is_up = trio != "fallen"

    def __enter__(self) -> FakeServing:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `fuzz.measure` where schemathesis makes this report, and the server counts these."""

    def measure(
        report: dict[str, Any] | None, statuses: dict[int, int] | None = None, trio: str = "t"
    ) -> dict[str, Any]:
        text = "" if report is None else json.dumps(report)
        (tmp_path / "fake.py").write_text(FAKE.format(report=text), "utf-8")
        monkeypatch.setattr(fuzz, "Serving", FakeServing)
        monkeypatch.setattr(fuzz, "_statuses", lambda _: Counter(statuses or {200: 3}))
        whole = fuzz._run

        def run(command: list[str], folder: str, told: fuzz.Told) -> str:
            return whole([sys.executable, str(tmp_path / "fake.py"), *command[1:]], folder, told)

        monkeypatch.setattr(fuzz, "_run", run)
        there = Clients(tmp_path, tmp_path, tmp_path)
        try:
            return fuzz.measure(trio, there, 1.0, lambda _: None)
        finally:
            monkeypatch.setattr(fuzz, "_run", whole)

    return measure


def test_a_server_without_a_fault(measured: Any) -> None:
    found = measured(REPORT, {400: 2, 200: 1})
    assert found["accepted"] == {"POST /a": 0.5}
    assert found["statuses"] == {"200": 1, "400": 2}
    assert "1234 cases: no fault" in fuzz.as_text(found)


@pytest.mark.parametrize(
    ("report", "statuses", "trio", "said"),
    [
        ({"failures": [{"title": "Server error", "operations": ["POST /a"]}]}, {}, "t", "POST /a"),
        ({"errors": ["unreadable"]}, {}, "t", "unreadable"),
        ({}, {200: 5, 503: 1}, "t", "1 of 503"),
        ({}, {}, "fallen", "has ended"),
    ],
)
def test_a_fault_is_told(
    measured: Any,
    report: dict[str, Any],
    statuses: dict[int, int],
    trio: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(EdgeproxyError, match=said):
        measured({**REPORT, **report}, statuses, trio)
    assert "asked run" in capsys.readouterr().err


def test_a_schemathesis_that_reports_nothing_is_told(measured: Any) -> None:
    with pytest.raises(EdgeproxyError, match="no report"):
        measured(None)
