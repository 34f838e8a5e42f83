"""Manifests: what a good one gives, and that every bad one names itself and its mistake."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.trios import find as recipe_module
from edgeproxy.trios.find import (
    Recipe,
    Role,
    choose_recipe,
    find_recipe,
    read_recipe,
    recipe_of_files,
)
from edgeproxy.trios.manifest import to_toml

GOOD = """\
name = "small"
description = "A small trio."
licence = "MIT"
alpha = 1.5
plausibility = 0.03
temperature = 0.7

[base]
file = "base.gguf"
size = 123
sha256 = "{digest}"

[expert]
file = "sub/expert.gguf"
prompt = "chatml"

[anti_expert]
file = "anti-expert.gguf"
prompt = "plain"

[tuned]
file = "tuned.gguf"
prompt = "gguf"
""".replace("{digest}", "ab" * 32)

LEAST = """\
name = "least"
[base]
file = "a"
[expert]
file = "b"
[anti_expert]
file = "c"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "trio.toml"
    path.write_text(text, "utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    """The message for a manifest that must be refused, which names the file."""
    path = write(folder, text)
    with pytest.raises(ManifestError) as error:
        read_recipe(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_a_manifest_gives_a_recipe(tmp_path: Path) -> None:
    got = read_recipe(write(tmp_path, GOOD))
    folder = tmp_path.resolve()
    assert got == Recipe(
        name="small",
        description="A small trio.",
        licence="MIT",
        steering=Steering(1.5, plausibility=0.03),
        temperature=0.7,
        base=Role(folder / "base.gguf", "plain", 123, "ab" * 32),
        expert=Role(folder / "sub" / "expert.gguf", "chatml"),
        anti_expert=Role(folder / "anti-expert.gguf", "plain"),
        tuned=Role(folder / "tuned.gguf", "gguf"),
    )
    assert list(got.roles) == ["base", "expert", "anti_expert"]


def test_a_folder_with_a_manifest_will_do(tmp_path: Path) -> None:
    assert read_recipe(tmp_path / write(tmp_path, GOOD).parent).name == "small"
    assert read_recipe(str(tmp_path)).name == "small"


def test_what_is_not_said_is_the_paper(tmp_path: Path) -> None:
    got = read_recipe(write(tmp_path, LEAST))
    assert (got.steering, got.temperature) == (Steering(), 0.0)
    assert (got.tuned, got.description, got.licence) == (None, "", "")
    assert got.expert == Role(tmp_path.resolve() / "b")


def test_the_policy_of_earlier_versions_is_read_and_dropped(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, f'policy = "constant"\n{LEAST}'))
    assert recipe == read_recipe(write(tmp_path, LEAST))
    assert "policy" not in to_toml(recipe)


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_recipe(write(tmp_path, LEAST)).steering = Steering(2.0)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('name = "small"', "", "name is missing"),
        ('name = "small"', "name = 3", "name must be a string"),
        ('licence = "MIT"', "licence = []", "licence must be a string"),
        ('licence = "MIT"', 'license = "MIT"', "unknown key license"),
        ("alpha = 1.5", 'alpha = "1"', "alpha must be a number"),
        ("alpha = 1.5", "alpha = true", "alpha must be a number"),
        ("alpha = 1.5", "alpha = nan", "alpha must be a finite number"),
        ("alpha = 1.5", "alpha = inf", "alpha must be a finite number"),
        ("alpha = 1.5", "alpha = 1" + "0" * 400, "alpha: "),
        ("alpha = 1.5", "alpha = 1" + "0" * 5000, "not valid TOML"),
        ("plausibility = 0.03", "plausibility = 1.5", "plausibility must be between 0"),
        ("plausibility = 0.03", "plausibility = -0.1", "plausibility must be between 0"),
        ("plausibility = 0.03", "plausibility = nan", "plausibility must be between 0"),
        ("plausibility = 0.03", "base_weight = 1.5", "base_weight must be between 0"),
        ("plausibility = 0.03", 'base_weight = "0"', "base_weight must be a number"),
        ("plausibility = 0.03", "base_weight = 0", "base_weight 0 is the expert alone"),
        ("plausibility = 0.03", 'policy = "unsure"', "policy is 'unsure', and policies were taken"),
        ("plausibility = 0.03", 'policy = ""', "policy is '', and policies were taken out"),
        ("plausibility = 0.03", "policy = 1", "policy must be a string"),
        ("temperature = 0.7", "temperature = -1", "temperature must be 0 or more"),
        ("temperature = 0.7", "temperature = inf", "temperature must be 0 or more"),
        ("[base]", "[bass]", "base is missing"),
        ("[expert]", "[[expert]]", "expert must be a table"),
        ("[tuned]", "[tuned.x]", "tuned.file is missing"),
        ("[tuned]", "[other]", "unknown key other"),
        ('file = "base.gguf"', "", "base.file is missing"),
        ('file = "base.gguf"', "file = 1", "base.file must be a string"),
        ('file = "base.gguf"', 'file = "/etc/passwd"', "base.file must stay in the manifest's"),
        ('file = "base.gguf"', 'file = "../base.gguf"', "base.file must stay in the manifest's"),
        ('file = "base.gguf"', 'file = "a/../../b"', "base.file must stay in the manifest's"),
        ('file = "base.gguf"', 'file = "sub/.."', "base.file must stay in the manifest's"),
        ('file = "base.gguf"', 'file = "a\\u0000b"', "base.file cannot be a path"),
        ('file = "tuned.gguf"', 'file = "../t.gguf"', "tuned.file must stay in the manifest's"),
        ("size = 123", "size = 1.5", "base.size must be a number of bytes"),
        ("size = 123", "size = inf", "base.size must be a number of bytes"),
        ("size = 123", "size = -1", "base.size must be 0 or more"),
        ("size = 123", 'siez = "x"', "unknown key base.siez"),
        ("ab" * 32, "AB" * 32, "base.sha256 must be 64 hexadecimal digits"),
        ("ab" * 32, "ab" * 31, "base.sha256 must be 64 hexadecimal digits"),
        ('prompt = "chatml"', 'prompt = "chatlm"', "expert.prompt: there is no prompt format"),
        ('prompt = "chatml"', 'prompt = "auto"', "expert.prompt: there is no prompt format"),
        ('prompt = "chatml"', "prompt = 1", "expert.prompt must be a string"),
        ('prompt = "chatml"', 'promt = "chatml"', "unknown key expert.promt"),
        ('name = "small"', 'name = "small', "not valid TOML"),
        ('name = "small"', 'name = "a"\nname = "b"', "not valid TOML"),
    ],
)
def test_a_bad_manifest_names_itself_and_the_key(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    assert GOOD.count(old) == 1
    assert what in refused(tmp_path, GOOD.replace(old, new))


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert "not valid TOML" in refused(tmp_path, "x = " + "[" * 100_000)


def test_a_manifest_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trio.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ManifestError, match="not valid TOML"):
        read_recipe(tmp_path)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"trio\.toml: there is no such manifest; check the path"
    ):
        read_recipe(tmp_path)
    with pytest.raises(ManifestError, match="no such manifest"):
        read_recipe(tmp_path / "nothing.toml")


def test_a_huge_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trio.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ManifestError, match="too large"):
        read_recipe(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trio.toml")
    with pytest.raises(ManifestError, match="regular file"):
        read_recipe(tmp_path)


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ManifestError):
        read_recipe("a\0b.toml")


def test_a_link_out_of_the_folder_is_its_owners_own(tmp_path: Path) -> None:
    outside, folder = tmp_path / "elsewhere" / "large.gguf", tmp_path / "trio"
    outside.parent.mkdir()
    outside.write_bytes(b"")
    folder.mkdir()
    (folder / "base.gguf").symlink_to(outside)
    (folder / "anti-expert.gguf").symlink_to(outside)
    (folder / "sub").symlink_to(outside.parent)
    recipe = read_recipe(write(folder, GOOD))
    assert recipe.base.path == recipe.anti_expert.path == outside.resolve()
    assert (recipe.base.file_name, recipe.anti_expert.file_name) == (
        "base.gguf",
        "anti-expert.gguf",
    )
    assert recipe.expert.path == outside.resolve().with_name("expert.gguf")


def test_a_path_through_a_link_does_not_lead_up(tmp_path: Path) -> None:
    (tmp_path / "trio").mkdir()
    (tmp_path / "trio" / "sub").symlink_to(tmp_path)
    text = GOOD.replace('"sub/expert.gguf"', '"sub/../expert.gguf"')
    assert "expert.file must stay in" in refused(tmp_path / "trio", text)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.gguf").write_bytes(b"")
    (tmp_path / "base.gguf").symlink_to("real.gguf")
    assert read_recipe(write(tmp_path, GOOD)).base.path == (tmp_path / "real.gguf").resolve()


def test_links_in_a_circle_do_not_hang(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").symlink_to("other.gguf")
    (tmp_path / "other.gguf").symlink_to("base.gguf")
    try:
        read_recipe(write(tmp_path, GOOD))
    except ManifestError as error:
        assert "base.file" in str(error)  # noqa: PT017 - newer Pythons resolve the circle to a path


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of trios, as a wheel has one."""
    folder = tmp_path / "models"
    (folder / "small").mkdir(parents=True)
    write(folder / "small", GOOD)
    monkeypatch.setattr(recipe_module, "shipped_folders", lambda: [folder])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder


def test_a_trio_is_found_by_its_name(shipped: Path) -> None:
    assert find_recipe("small").name == "small"


def test_a_trio_is_found_by_its_path(shipped: Path) -> None:
    assert find_recipe(str(shipped / "small")).name == "small"
    assert find_recipe(str(shipped / "small" / "trio.toml")).name == "small"


@pytest.mark.parametrize("name", ["smal", "../models/small/x", "small\0", "*", "a/b"])
def test_an_unknown_trio_is_refused_and_the_known_ones_named(shipped: Path, name: str) -> None:
    with pytest.raises(ManifestError, match=r"there is no trio called .* \(there are: small\)"):
        find_recipe(name)


def test_the_trio_that_ships_is_found(factbook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(factbook.parent.parent.parent / "tests")
    assert find_recipe("factbook") == read_recipe(factbook)


def test_three_files_are_a_recipe() -> None:
    got = recipe_of_files(Path("b.gguf"), Path("e.gguf"), Path("a.gguf"))
    assert got.name == "b + e"
    assert [role.prompt for role in got.roles.values()] == ["plain", "auto", "plain"]
    assert got.steering == Steering()


def test_some_roles_of_a_recipe_are_exchanged() -> None:
    recipe = recipe_of_files(Path("b.gguf"), Path("e.gguf"), Path("a.gguf"))
    other = Role(Path("o.gguf"), "chatml")
    changed = recipe.with_roles({"expert": other})
    assert changed.roles == {
        "base": recipe.base,
        "expert": other,
        "anti_expert": recipe.anti_expert,
    }
    assert recipe.with_roles({}) == recipe


def test_prompt_formats_of_a_recipe_are_chosen() -> None:
    files = (Path("b.gguf"), Path("e.gguf"), Path("a.gguf"))
    recipe = choose_recipe(None, *files, prompts={"expert": "chatml", "base": "gguf"})
    assert [role.prompt for role in recipe.roles.values()] == ["gguf", "chatml", "plain"]
    assert [role.path for role in recipe.roles.values()] == list(files)
    tuned = dataclasses.replace(recipe, tuned=Role(Path("t.gguf")))
    changed = tuned.with_prompts({"tuned": "gemma"})
    assert changed.tuned == Role(Path("t.gguf"), "gemma")
    assert changed.roles == recipe.roles


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"expert": "chatMl"}, "there is no prompt format 'chatMl'; there are plain, chatml"),
        ({"tuned": "chatml"}, "no model 'tuned' .* it has base, expert, anti_expert$"),
        ({"anti-expert": "chatml"}, "no model 'anti-expert'"),
    ],
)
def test_a_format_or_a_role_that_there_is_not_is_refused(
    prompts: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose_recipe(None, "b.gguf", "e.gguf", "a.gguf", prompts=prompts)


@pytest.mark.parametrize(
    "steering",
    [
        Steering(),
        Steering(0.5, 0.25, 0.1),
        Steering(base_weight=0.0, plausibility=0.1),
        Steering(alpha=0.0),
    ],
    ids=str,
)
def test_a_steering_is_written_as_it_is_read(tmp_path: Path, steering: Steering) -> None:
    recipe = dataclasses.replace(read_recipe(write(tmp_path, LEAST)), steering=steering)
    text = to_toml(recipe)
    assert read_recipe(write(tmp_path, text)).steering == steering
    # What is as in the paper is left out: versions before would not know this key.
    assert ("base_weight" in text) == (steering.base_weight != 1.0)
    assert set(recipe.loaded) == ({steering.alone} if steering.alone else set(recipe.roles))
