"""docs/json.md: its examples have the keys and types of what the verbs print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edgeproxy.cli import VERBS, edgeproxy, main
from edgeproxy.history.keeper import Keeper
from tests.helpers.forked import forks_running
from tests.helpers.hub_server import hub_running
from tests.helpers.indexes import write
from tests.helpers.pulling import Home, models, serve
from tests.helpers.small_models import small_model, write_examples
from tools import docs

PAGE = docs.REPOSITORY / "docs" / "json.md"
OPEN = {"cut", "kinds", "environment", "systems", "settings", "stats", "words"}
"""Objects whose keys are whatever there is; one of their values is compared."""


def examples() -> dict[str, Any]:
    """What the page shows, by heading."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {
        heading: json.loads(match[1])
        for heading, part in found
        if (match := re.search(r"^```json\n(.*?)^```", part, re.MULTILINE | re.DOTALL))
    }


def differences(shown: Any, printed: Any, where: str = "") -> Iterator[str]:
    """In what the shape of `shown` is not that of `printed`; a null may be anything."""
    match shown, printed:
        case (None, _) | (_, None):
            return
        case dict(), dict():
            if where.rpartition(".")[2] in OPEN:
                values = zip([*shown.values()][:1], [*printed.values()][:1], strict=False)
                for one, other in values:
                    yield from differences(one, other, f"{where}.*")
                return
            for key in sorted(shown.keys() ^ printed.keys()):
                yield f"{where}.{key} is only {'shown' if key in shown else 'printed'}"
            for key in shown.keys() & printed.keys():
                yield from differences(shown[key], printed[key], f"{where}.{key}")
        case list(), list():
            for one, other in zip(shown[:1], printed[:1], strict=False):
                yield from differences(one, other, f"{where}[]")
        case _:
            kinds = [float if type(value) is int else type(value) for value in (shown, printed)]
            if kinds[0] is not kinds[1]:
                yield f"{where} is {printed!r}, shown as {shown!r}"


def verbs_with_json() -> Iterator[str]:
    """Every verb, and verb of a verb, that takes --json."""
    for verb in VERBS:
        command = edgeproxy.get_command(click.Context(edgeproxy), verb)
        assert command is not None
        own = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        for name, found in own:
            if any("--json" in option.opts for option in found.params):
                yield f"{verb} {name}".strip()


def test_every_verb_with_json_has_an_example() -> None:
    headings = {heading.partition(",")[0] for heading in examples()}
    assert headings == set(verbs_with_json())


@pytest.mark.parametrize(
    ("shown", "printed", "count"),
    [
        ({"a": 1}, {"a": 2.5}, 0),
        ({"a": 1}, {"b": 1}, 2),
        ({"a": "x"}, {"a": 1}, 1),
        ({"a": True}, {"a": 1}, 1),
        ({"a": None}, {"a": {"b": 1}}, 0),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, 2),
        ({"kinds": {"x": {"n": 1}}}, {"kinds": {"y": {"n": 2}}}, 0),
        ({"kinds": {"x": {"n": 1}}}, {"kinds": {"y": {"m": 2}}}, 2),
    ],
)
def test_a_difference_would_be_seen(shown: Any, printed: Any, count: int) -> None:
    assert len(list(differences(shown, printed))) == count


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What this command prints, as JSON."""
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    output = capsys.readouterr()
    # `doctor` says 1 where it found something urgent on this machine.
    assert code == 0 or (arguments[0] == "doctor" and code == 1), output.err
    return json.loads(output.out)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("heading", "line"),
    [
        ("run", ["run", "Hello", "--max-tokens", "2"]),
        ("explain", ["explain", "Hello", "--max-tokens", "2"]),
        ("eval", ["eval", "factbook", "{questions}", "--limit", "1"]),
        ("sweep", ["sweep", "factbook", "{questions}", "--limit", "1", "--alpha", "0,1"]),
        ("fit", ["fit", "factbook", "{questions}", "--limit", "2", "--dry-run"]),
        ("bench", ["bench", "--repeats", "1", "--max-tokens", "2"]),
        ("show, of a recipe that has not been pulled", ["show", "qwen2.5-7b"]),
        ("ls", ["ls"]),
        ("verify", ["verify", "factbook"]),
        ("doctor", ["doctor", "factbook"]),
        ("bundle create", ["bundle", "create", "factbook", "-o", "{folder}/a.bundle"]),
        ("bundle keygen", ["bundle", "keygen", "{folder}/a.key"]),
    ],
)
def test_an_example_is_what_the_verb_prints(
    heading: str,
    line: list[str],
    factbook: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions = factbook.parent / "questions.jsonl"
    arguments = [word.format(questions=questions, folder=tmp_path) for word in line]
    assert list(differences(examples()[heading], printed(capsys, *arguments))) == []


@pytest.mark.weights
def test_the_examples_of_add_are_what_it_prints(
    factbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    base, raw, lora = (factbook.parent / f"{n}.gguf" for n in ("base", "anti-expert", "lora"))
    trio = ("mine", "--base", base, "--anti-expert", raw, "--expert-lora", lora)
    for heading, line in (("add", ["add", base]), ("add, of a trio", ["add", *trio])):
        assert list(differences(examples()[heading], printed(capsys, *line), heading)) == []


def test_the_example_of_tune_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "examples.jsonl", count=4)
    models = ("--small", small_model(tmp_path / "s.gguf"), "--base", small_model(tmp_path / "b"))
    settings = ("--epochs", 1, "--threads", 1, "--dtype", "float32", "-o", "mine")
    found = printed(capsys, "tune", "examples.jsonl", *models, *settings)
    assert list(differences(examples()["tune"], found)) == []


@pytest.mark.weights
def test_the_example_of_show_is_what_it_prints(
    factbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed(capsys, "show", factbook)
    found["models"].pop("tuned")
    assert list(differences(examples()["show"], found)) == []


@pytest.mark.weights
def test_the_examples_of_a_bundle_s_way_are_what_the_verbs_print(
    factbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    bundle = tmp_path / "factbook.bundle"
    printed(capsys, "bundle", "create", "factbook", "-o", bundle)
    shown = examples()
    for heading, line in (
        ("bundle verify", ["bundle", "verify", bundle]),
        ("bundle install", ["bundle", "install", bundle]),
        ("rm", ["rm", "factbook", "--yes"]),
    ):
        assert list(differences(shown[heading], printed(capsys, *line), heading)) == []


def test_the_examples_of_index_are_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    write(tmp_path / "notes" / "contract.txt", "The notice period is three months.")
    (tmp_path / "notes" / "locked.pdf").write_bytes(b"%PDF-1.4 damaged")
    for heading, *line in (
        ("index make", "index", tmp_path / "notes", "-o", "work"),
        ("index ls", "index", "ls"),
        ("index show", "index", "show", "work"),
        ("index search", "index", "search", "work", "notice", "period"),
        ("index rm", "index", "rm", "work", "--yes"),
    ):
        assert list(differences(examples()[heading], printed(capsys, *line), heading)) == []


def test_the_examples_of_sessions_are_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    models = dict.fromkeys(("base", "expert", "anti_expert"), "5c" * 32)
    with Keeper("factbook", models, print) as keeper:
        keeper.say("What is the capital of Mongolia?", {"alpha": 1.0})
        keeper.answer("Ulaanbaatar.", "stop")
        keeper.save("letters")
    for heading, *line in (
        ("sessions ls", "sessions", "ls"),
        ("sessions show", "sessions", "show", "letters"),
        ("sessions search", "sessions", "search", "capital"),
        ("sessions rm", "sessions", "rm", "letters", "--yes"),
    ):
        assert list(differences(examples()[heading], printed(capsys, *line), heading)) == []


@pytest.mark.slow
def test_the_example_of_pull_is_what_it_prints(tmp_path: Path) -> None:
    data = models()
    (tmp_path / "forks").mkdir()
    with hub_running() as hub, forks_running(tmp_path / "forks") as forks:
        serve(hub, data)
        home = Home(tmp_path, hub, forks)
        done = home.run("pull", home.recipe(data), "--json")
    assert done.code == 0, done.err
    assert list(differences(examples()["pull"], json.loads(done.out))) == []
