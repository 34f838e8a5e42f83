"""ls, rm, verify, and show for what is installed or could be."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui import removing
from edgeproxy.cli.ui.output import StatusLine
from edgeproxy.trios.manifest import Recipe, Role, to_toml
from edgeproxy.trios.store import Store, check
from tests.helpers.command_line import Run
from tests.helpers.gguf_files import draft
from tests.helpers.store_trios import files_of, install, receive, sha256


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    return Store()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        return main(arguments), *capsys.readouterr()

    return run


def damage(store: Store, name: str) -> Path:
    path = store.recipe(name).expert.path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    return path


def test_ls_tells_what_is_here(run: Run, store: Store) -> None:
    install(store, "mine")
    install(store, "broken")
    (store.trios / "broken" / "trio.toml").write_text("nonsense")
    code, out, err = run("ls")
    assert (code, err) == (0, "")
    lines = [line.split(maxsplit=4) for line in out.splitlines()]
    assert lines[0] == ["name", "size", "origin"]
    assert [(line[0], line[3]) for line in lines[1:3]] == [
        ("factbook", "shipped"),
        ("factbook-phi", "shipped"),
    ]
    assert lines[3][:2] == ["broken", "unknown"]
    assert "install it again: edgeproxy pull broken" in out
    size = sum(map(len, files_of("mine")))
    assert lines[4] == ["mine", f"{size / 1e3:.1f}", "kB", "installed"]
    found = {trio["name"]: trio for trio in json.loads(run("ls", "--json")[1])["trios"]}
    assert found["mine"]["size"] == size
    assert found["mine"]["problem"] is None
    assert found["broken"]["size"] is None


def test_ls_all_tells_what_could_be_pulled(run: Run, store: Store) -> None:
    assert "about 5.6 GB" in run("ls", "--all")[1]
    assert "edgeproxy pull qwen2.5-7b" in run("ls", "--all")[1]
    install(store, "qwen2.5-7b")
    assert "edgeproxy pull qwen2.5-7b" not in run("ls", "--all")[1]


def test_ls_says_which_of_two_is_used(run: Run, store: Store) -> None:
    install(store, "factbook")
    assert "comes with edgeproxy is used instead" in run("ls")[1]


def test_rm_removes_and_says_what_was_freed(run: Run, store: Store) -> None:
    install(store, "one")
    install(store, "two")
    receive(store, b"left by a pull" * 100)
    own = sum(map(len, files_of("one")[1:]))
    code, out, err = run("rm", "one", "--yes", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["removed"], found["freed"], len(found["files"])) == (["one"], own + 1400, 3)
    assert store.names() == ["two"]
    receive(store, b"left by a pull" * 100)
    code, out, err = run("rm", "two", "two", "--yes")
    assert (code, err, store.names()) == (0, "", [])
    assert out.startswith("removed two; ")
    assert out.endswith(" kB freed, of which 1.4 kB left by unfinished work\n")
    assert run("rm", "--leftovers", "-y")[:2] == (0, "0 bytes freed\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["factbook", "-y"], "factbook comes with edgeproxy and cannot be removed"),
        (["qwen2.5-7b", "-y"], "a recipe that has not been pulled"),
        (["nothing", "-y"], "no trio called 'nothing' is installed (there are: one)"),
        (["one", "nothing", "-y"], "no trio called 'nothing'"),
        (["one"], "there is no terminal to ask at; --yes removes without asking"),
        (["-y"], "name the trios to remove"),
    ],
)
def test_rm_refuses_in_a_sentence(
    run: Run, store: Store, arguments: list[str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y\n")))
    install(store, "one")
    code, out, err = run("rm", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert what in err
    assert store.names() == ["one"]


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("y\n", 0, []), ("n\n", 1, ["one"]), ("\n", 1, ["one"]), ("", 130, ["one"])],
)
def test_rm_asks_at_a_terminal(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: list[str]
) -> None:
    monkeypatch.setattr(removing, "is_terminal", lambda _: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    install(store, "one")
    ended, out, err = run("rm", "one")
    assert (ended, store.names()) == (code, left)
    assert "Remove one (" in err + out
    assert ("nothing was removed" in err) == (code == 1)


def test_verify_finds_what_is_damaged_and_puts_it_aside(run: Run, store: Store) -> None:
    install(store, "mine")
    code, out, err = run("verify", "mine")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["mine", role, file, "sound"]
        for role, file in zip(
            ("base", "expert", "anti-expert"), ("x.gguf", "y.gguf", "z.gguf"), strict=True
        )
    ]
    path = damage(store, "mine")
    code, out, _ = run("verify")
    assert code == 1
    assert "it is damaged: its sha256 is" in out
    assert "put aside as" in out
    assert not path.exists()
    code, out, _ = run("verify", "--json")
    found = json.loads(out)
    assert (code, found["sound"]) == (1, False)
    assert [f["problem"] for f in found["files"] if f["name"] == "y.gguf"] == [
        "it is missing; edgeproxy pull mine, or install its bundle again, or edgeproxy add FILE "
        "where you have it"
    ]
    install(store, "mine")
    assert run("verify", "mine")[0] == 0


def test_verify_leaves_a_sound_file_where_only_a_manifest_is_wrong(run: Run, store: Store) -> None:
    install(store, "mine")
    install(store, "other")
    base = store.recipe("mine").base
    assert base.path == store.recipe("other").base.path
    manifest = store.trios / "mine" / "trio.toml"
    manifest.write_text(manifest.read_text().replace(f"size = {base.size}", "size = 7"))
    code, out, _ = run("verify", "mine")
    assert code == 1
    assert "its sha256 is right, but its manifest is wrong" in out
    assert "put aside" not in out
    assert run("verify", "other")[0] == 0
    install(store, "mine")
    assert run("verify", "mine")[0] == 0


def test_verify_reads_what_ships_and_tells_of_damaged_manifests(run: Run, store: Store) -> None:
    code, out, _ = run("verify", "factbook")
    assert (code, out.count("sound")) == (0, 4)
    install(store, "mine")
    (store.trios / "mine" / "trio.toml").write_text("nonsense")
    code, out, _ = run("verify", "mine")
    assert code == 1
    assert "not valid TOML" in out
    code, out, err = run("verify", "nothing")
    assert (code, out) == (2, "")
    assert "no trio called 'nothing' here (there are: factbook, factbook-phi, mine)" in err


def test_verify_shows_how_far_it_is(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "mine")
    told: list[str] = []
    monkeypatch.setattr(StatusLine, "show", lambda _self, text: told.append(text))
    run("verify", "mine")
    assert told[-1] == "z.gguf: 100% of 1.6 kB"


def test_verify_stops_at_ctrl_c(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    install(store, "mine")
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(StatusLine, "show", lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        assert run("verify", "mine") == (130, "", "edgeproxy: interrupted\n")
    finally:
        signal.signal(signal.SIGINT, previous)


def test_show_of_an_installed_trio_names_its_files(run: Run, store: Store) -> None:
    data = draft("llama").bytes()
    receive(store, data)
    role = Role(Path("small.gguf"), size=len(data), sha256=sha256(data))
    store.install("mine", to_toml(Recipe("mine", role, role, role)))
    code, out, err = run("show", "mine")
    assert (code, err) == (0, "")
    assert f"base file          small.gguf: {store.blob(sha256(data))}" in out
    found = json.loads(run("show", "mine", "--json")[1])
    assert found["models"]["base"]["name"] == "small.gguf"


def test_show_of_a_recipe_tells_what_a_pull_would_get(
    run: Run, store: Store, tmp_path: Path
) -> None:
    code, out, err = run("show", "qwen2.5-7b")
    assert (code, err) == (0, "")
    assert out.startswith("qwen2.5-7b: not pulled yet; get it: edgeproxy pull qwen2.5-7b\n")
    for words in ("about 5.6 GB", "491.4 MB", "about 6.5 GB with a context of 4,096 tokens"):
        assert words in out
    assert "no: nobody has pulled these very files yet" in out
    found: dict[str, Any] = json.loads(run("show", "qwen2.5-7b", "--json")[1])
    assert (found["pulled"], found["verified"]) == (False, False)
    assert found["models"]["expert"]["size"] == 491400032
    assert found["models"]["base"]["size_is_exact"] is False
    path = Path(__file__).parents[2] / "models" / "recipes" / "qwen2.5-7b.toml"
    assert json.loads(run("show", str(path), "--json")[1]) == found
    install(store, "qwen2.5-7b")
    (store.trios / "qwen2.5-7b" / "trio.toml").write_text("nonsense")
    code, out, err = run("show", "qwen2.5-7b")
    assert (code, out) == (1, "")
    assert "install it again: edgeproxy pull qwen2.5-7b" in err


def test_a_file_without_a_hash_cannot_be_called_sound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    role = Role(tmp_path / "a")
    found = check([Recipe("r", role, role, role)])
    assert "gives no sha256 to compare with" in (found[0].problem or "")
    assert not found[0].wrong
