"""`edgeproxy add`: files noted, and trios of files where they lie, which every verb takes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui import progress
from edgeproxy.files import hash_file
from edgeproxy.gguf import read
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import Lora, Recipe, Role, read_recipe, to_toml
from edgeproxy.trios.store import Store
from tests.helpers.adapters import adapter
from tests.helpers.gguf_files import draft


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models, and two adapters of one of them."""
    folder = tmp_path_factory.mktemp("models")
    draft("llama").write(folder / "base.gguf", 1)
    draft("llama").write(folder / "chat.gguf", 3)
    raw = draft("llama").write(folder / "raw.gguf", 2)
    for seed, name in enumerate(("terse.gguf", "rank=16.gguf")):
        adapter(read(raw), seed=seed).write(folder / name)
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """Copies of these, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "files"))


class Verbs:
    """Runs the command line; what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        assert main([str(argument) for argument in arguments]) == code, self._capsys.readouterr()
        out, self.err = self._capsys.readouterr()
        assert "bug in edgeproxy" not in self.err
        return out

    def refused(self, *arguments: str | Path, code: int = 2) -> str:
        assert self(*arguments, code=code) == ""
        assert self.err.count("\n") == 1
        return self.err


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Verbs:
    return Verbs(capsys)


def of_files(files: Path, *more: str) -> tuple[str, ...]:
    base, raw = (str(files / f"{name}.gguf") for name in ("base", "raw"))
    return ("add", "mine", "--base", base, "--anti-expert", raw, *more)


def all_below(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hash_file(p) for p in folder.rglob("*") if p.is_file()}


def test_files_are_noted(files: Path, verb: Verbs) -> None:
    out = verb("add", files / "base.gguf", files / "terse.gguf")
    digests = [hash_file(files / name) for name in ("base.gguf", "terse.gguf")]
    assert out.splitlines() == [
        f"{digests[0]}  {files / 'base.gguf'}",
        f"{digests[1]}  {files / 'terse.gguf'}",
    ]
    assert KnownFiles().find(digests[0]) == files / "base.gguf"
    found = json.loads(verb("add", files / "base.gguf", "--json"))["files"]
    size = (files / "base.gguf").stat().st_size
    assert found == [{"file": str(files / "base.gguf"), "size": size, "sha256": digests[0]}]


def test_what_is_no_model_is_not_noted(files: Path, verb: Verbs, tmp_path: Path) -> None:
    (files / "notes.txt").write_text("I am no model, and nobody should hash me by mistake.")
    cut = (files / "base.gguf").read_bytes()[:-100]
    (files / "cut.gguf").write_bytes(cut)
    for name, what in (
        ("notes.txt", "it is not a GGUF file"),
        ("cut.gguf", "cut.gguf: "),
        ("none.gguf", "there is no such file"),
        (".", "it is a directory"),
    ):
        assert what in verb.refused("add", files / "base.gguf", files / name)
    assert not (tmp_path / "home").exists()


def test_a_trio_is_installed_without_a_copy(files: Path, verb: Verbs, tmp_path: Path) -> None:
    before = all_below(files)
    out = verb(*of_files(files, "--expert", str(files / "chat.gguf")), "--alpha", "0.5")
    assert out == "mine is installed: edgeproxy chat --trio mine\n"
    recipe = Store().recipe("mine")
    assert {name: role.path for name, role in recipe.roles.items()} == {
        "base": files / "base.gguf",
        "expert": files / "chat.gguf",
        "anti_expert": files / "raw.gguf",
    }
    assert (recipe.steering.alpha, recipe.base.size) == (0.5, (files / "base.gguf").stat().st_size)
    assert not list((tmp_path / "home").rglob("*.gguf"))
    assert not list((tmp_path / "home").glob("blobs/*"))
    assert str(files / "base.gguf") in verb("show", "mine")
    assert verb("verify", "mine").count("sound") == 3
    assert "installed" in verb("ls")
    assert "removed mine; 0 bytes freed" in verb("rm", "mine", "--yes")
    assert all_below(files) == before
    assert "mine" not in verb("ls")


def test_a_trio_of_adapters(files: Path, verb: Verbs) -> None:
    loras = ("--expert-lora", f"{files}/terse.gguf=0.7", "--expert-lora", f"{files}/rank=16.gguf")
    found = json.loads(verb(*of_files(files, *loras), "--prompt", "base=plain", "--json"))
    assert [(lora["called"], lora["scale"]) for lora in found["models"]["expert"]["loras"]] == [
        ("terse", 0.7),
        ("rank=16", 1.0),
    ]
    assert found["models"]["expert"]["file"] == str(files / "raw.gguf")
    assert found["doubts"] == []
    recipe = Store().recipe("mine")
    assert [lora.path.name for lora in recipe.expert.loras] == ["terse.gguf", "rank=16.gguf"]
    text = verb("show", "mine")
    assert f"expert lora        terse: {files}/terse.gguf" in text
    assert "alpha 8, weight 0.7: " in text
    assert verb("verify", "mine").count("sound") == 4


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "needs --base, --anti-expert, and --expert or --expert-lora"),
        (("--expert", "{}/none.gguf"), "none.gguf: there is no such file"),
        (("--expert", "{}/terse.gguf"), "terse.gguf: it holds 'adapter', not a model"),
        (("--expert-lora", "{}/raw.gguf"), "raw.gguf: it holds 'model', not an adapter"),
        (("--expert", "{}/chat.gguf", "--expert-lora", "{}/terse.gguf"), "leave one of them out"),
        (("--expert-lora", "{}/terse.gguf=-1"), "the scale of an adapter must be 0 to 100, not -1"),
        (("--expert-lora", "{}/terse.gguf=x"), "terse.gguf=x: there is no such file"),
        (("--expert-lora", "{0}/terse.gguf", "--expert-lora", "{0}/terse.gguf"), "given twice"),
        (("--expert", "{}/chat.gguf", "--prompt", "expert=gemma"), "has no token <start_of_turn>"),
        (("--expert", "{}/chat.gguf", "--alpha", "nan"), "alpha must be a finite number"),
    ],
)
def test_what_makes_no_trio_is_refused(
    files: Path, verb: Verbs, arguments: tuple[str, ...], what: str, tmp_path: Path
) -> None:
    said = verb.refused(*of_files(files, *(each.format(files) for each in arguments)))
    assert what in said
    assert not (tmp_path / "home").exists()


def test_names_that_cannot_be(files: Path, verb: Verbs) -> None:
    rest = of_files(files, "--expert", str(files / "chat.gguf"))[2:]
    assert "comes with edgeproxy; choose another name" in verb.refused("add", "factbook", *rest)
    assert "cannot be the name of a trio" in verb.refused("add", "../mine", *rest, code=1)
    assert "a trio has one name, and here are 2: a, b" in verb.refused("add", "a", "b", *rest)
    verb("add", "mine", *rest)
    assert "is installed already; choose another name, or" in verb.refused("add", "mine", *rest)
    verb("add", "mine", *rest, "--replace", "--plausibility", "0.1")
    assert Store().recipe("mine").steering.plausibility == 0.1
    assert "needs --base" in verb.refused("add", files / "base.gguf", "--replace")


def test_ctrl_c_installs_nothing(files: Path, verb: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed(progress.Working):
        def __init__(self, patience: float) -> None:
            super().__init__(patience)
            self.stop.set()

    monkeypatch.setattr(progress, "Working", Pressed)
    assert "interrupted" in verb.refused("add", files / "base.gguf", code=130)
    arguments = of_files(files, "--expert", str(files / "chat.gguf"))
    assert "interrupted" in verb.refused(*arguments, code=130)
    assert (KnownFiles().problem, Store().names()) == (None, [])


def test_a_file_that_moved_is_told_by_every_verb(files: Path, verb: Verbs, tmp_path: Path) -> None:
    verb(*of_files(files, "--expert", str(files / "chat.gguf")))
    digest = hash_file(files / "base.gguf")
    (files / "base.gguf").rename(tmp_path / "moved.gguf")
    size = (tmp_path / "moved.gguf").stat().st_size
    missing = f"its file base.gguf is missing ({size / 1e3:.1f} kB, sha256 {digest[:12]}...)"
    for line in (("show", "mine"), ("run", "Hello", "--trio", "mine")):
        said = verb.refused(*line, code=1)
        assert missing in said
        assert "or, where you have that file elsewhere: edgeproxy add FILE" in said
    assert missing in verb("ls")
    assert "it is missing; " in verb("verify", "mine", code=1)
    assert "or edgeproxy add FILE where you have it" in verb("verify", "mine", code=1)
    assert "mine: base.gguf is missing" in verb("doctor", code=1)
    verb("add", tmp_path / "moved.gguf")
    assert Store().recipe("mine").base.path == tmp_path / "moved.gguf"
    assert "base.gguf: " in verb("show", "mine")
    assert verb("verify", "mine").count("sound") == 3


def test_a_file_altered_behind_its_time_is_found_by_verify(files: Path, verb: Verbs) -> None:
    verb(*of_files(files, "--expert", str(files / "chat.gguf")))
    path = files / "base.gguf"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    out = verb("verify", "mine", code=1)
    assert "it is damaged: its sha256 is " in out
    assert "put the right file there, and: edgeproxy add FILE" in out
    assert path.read_bytes() == data
    # From now on it is hashed anew.
    assert "it is missing" in verb("verify", "mine", code=1)
    data[-1] ^= 1
    path.write_bytes(data)
    verb("add", path)
    assert verb("verify", "mine").count("sound") == 3


def test_rm_says_that_own_files_stay(
    files: Path, verb: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    from edgeproxy.cli.ui import removing

    asked: list[str] = []
    monkeypatch.setattr(removing, "is_terminal", lambda _: True)

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(click, "confirm", confirm)
    verb(*of_files(files, "--expert", str(files / "chat.gguf")))
    verb("rm", "mine", code=1)
    assert asked == ["Remove mine (0 bytes; your own files stay)?"]


def give_away(files: Path, folder: Path) -> Path:
    """A trio's folder with an adapter and a manifest, but without base and anti-expert."""
    folder.mkdir()
    shutil.copy(files / "terse.gguf", folder)
    (folder / "README.md").write_text("Answers tersely.")

    def role(name: str) -> Role:
        path = files / name
        return Role(path, size=path.stat().st_size, sha256=hash_file(path))

    raw = role("raw.gguf")
    lora = Lora(folder / "terse.gguf", 0.5, sha256=hash_file(folder / "terse.gguf"))
    expert = raw.with_loras([lora], "plain")
    (folder / "trio.toml").write_text(to_toml(Recipe("terse", role("base.gguf"), expert, raw)))
    return folder


def test_a_small_folder_works_for_who_has_the_same_files(
    files: Path, verb: Verbs, tmp_path: Path
) -> None:
    folder = give_away(files, tmp_path / "given")
    bundle = tmp_path / "terse.bundle"
    lines: tuple[tuple[str | Path, ...], ...] = (
        ("show", folder),
        ("run", "Hello", "--trio", folder, "--max-tokens", "2"),
        ("bundle", "create", folder, "-o", bundle),
    )
    for line in lines:
        said = verb.refused(*line)
        assert "base.gguf: there is no such file (" in said
        assert "if you have it elsewhere, type edgeproxy add FILE" in said
    assert verb("verify", folder, code=1).count("it is missing; put the right file there, or") == 2
    assert "do: put the right files there, or type edgeproxy add" in verb("doctor", folder, code=1)
    verb("add", files / "base.gguf", files / "raw.gguf")
    assert verb("verify", folder / "trio.toml").count("sound") == 3
    for line in lines:
        verb(*line)
    # The bundle has the bytes under names of its own, and the texts beside the manifest.
    verb("bundle", "install", bundle)
    store = Store()
    assert store.recipe("terse").base.path == store.blob(hash_file(files / "base.gguf"))
    assert (store.trios / "terse" / "README.md").read_text() == "Answers tersely."
    assert read_recipe(folder).base.path.parent == store.blobs  # both are known; this is nearer
    shutil.rmtree(files)
    assert verb("verify", "terse").count("sound") == 3


def test_a_bundle_of_a_trio_that_was_added(files: Path, verb: Verbs, tmp_path: Path) -> None:
    weird = files / "my base (1)=\u00e9.gguf"
    (files / "base.gguf").rename(weird)
    (files / "README.txt").write_text("A diary that lies beside the models, and goes nowhere.")
    arguments = list(of_files(files, "--expert", str(files / "chat.gguf")))
    arguments[3] = str(weird)
    verb(*arguments)
    bundle = tmp_path / "mine.bundle"
    verb("bundle", "create", "mine", "-o", bundle)
    assert "mine: no description" in verb("bundle", "verify", bundle)
    out = verb("bundle", "install", bundle)
    assert "mine is there already" in out
    assert "diary" not in bundle.read_bytes().decode("latin-1")
    verb("rm", "mine", "--yes")
    assert "mine is installed" in verb("bundle", "install", bundle)
    assert Store().recipe("mine").base.file_name == weird.name
