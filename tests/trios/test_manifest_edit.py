"""Settings put into a manifest: they read back, and nothing else changes, comments included."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError
from edgeproxy.trios.manifest import Documents, Fitted, Recipe, Result, read_recipe, to_toml
from edgeproxy.trios.manifest.edit import with_fit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PATH = Path("trio.toml")
STEERING = Steering(base_weight=0.5, plausibility=0.05)
FITTED = Fitted(
    questions='validation "2".jsonl',
    sha256="a" * 64,
    count=210,
    date="2026-11-25",
    edgeproxy="1.0.0",
    verdict="The proxy is right in 55% [45, 65]: steer.",
    results=(Result("expert", 60, 20, 0.312), Result("proxy/base_weight=0.5", 210, 115)),
)
MANIFEST = """\
# My own trio.
name = "mine"   # its name
alpha = 1.5 # found by hand
plausibility=0.03

# The large one.
[base]
file = "base.gguf"  # from the shelf

[expert]
file = "expert.gguf"

[anti_expert]
file = "anti.gguf"
# the end
"""


def edited(text: str, steering: Steering = STEERING) -> str:
    return with_fit(text, PATH, steering, FITTED)


def read(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "trio.toml").write_bytes(text.encode())
    return read_recipe(tmp_path)


def test_it_reads_back(tmp_path: Path) -> None:
    before, after = read(tmp_path, MANIFEST), read(tmp_path, edited(MANIFEST))
    assert after.steering == STEERING
    assert after.fitted == FITTED
    assert (after.name, after.roles) == (before.name, before.roles)


def test_all_else_stays_as_it_was_written() -> None:
    changed = edited(MANIFEST).split("\n")
    assert changed[: changed.index("[fitted]")] == [
        "# My own trio.",
        'name = "mine"   # its name',
        "alpha = 1.0 # found by hand",
        "plausibility = 0.05",
        "base_weight = 0.5",
        *MANIFEST.split("\n")[4:-1],
        "",
    ]


def test_doing_it_again_changes_the_same_lines(tmp_path: Path) -> None:
    once = edited(MANIFEST)
    assert edited(once) == once
    other = Steering(base_weight=0.0)
    assert read(tmp_path, edited(once, other)).steering == other
    assert edited(edited(once, other)) == once


def test_a_table_after_fitted_is_kept() -> None:
    moved = edited(MANIFEST) + '\n[tuned] # kept\nfile = "tuned.gguf"\n'
    changed = edited(moved)
    assert '[tuned] # kept\nfile = "tuned.gguf"\n' in changed
    assert changed.count("[fitted]") == 1


def test_what_stands_in_a_text_of_several_lines_is_no_setting() -> None:
    text = (
        'name = "mine"\ndescription = """\nalpha = 7\n[fitted]\n[base]\n"""\n[base]\nfile = "b"\n'
    )
    changed = edited(text)
    assert tomllib.loads(changed)["description"] == "alpha = 7\n[fitted]\n[base]\n"
    assert tomllib.loads(changed)["alpha"] == 1.0


def test_line_endings_stay() -> None:
    changed = edited(MANIFEST.replace("\n", "\r\n"))
    assert changed == edited(MANIFEST).replace("\n", "\r\n")


def test_a_manifest_without_tables_or_a_last_line_break() -> None:
    changed = edited('base = { file = "b" }\nname = "mine"')
    found = tomllib.loads(changed)
    assert (found["name"], found["base"], found["base_weight"]) == ("mine", {"file": "b"}, 0.5)


@pytest.mark.parametrize(
    "text", ['"alpha" = 2.0\n[base]\nfile = "b"\n', 'fitted.count = 1\nname = "x"\n']
)
def test_what_cannot_be_changed_safely_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(
        ManifestError, match=r"trio\.toml: .* base_weight = 0\.5, plausibility = 0\.05$"
    ):
        edited(text)


def test_a_written_recipe_has_it_too(tmp_path: Path) -> None:
    recipe = read(tmp_path, edited(MANIFEST))
    assert read(tmp_path, to_toml(recipe)).fitted == FITTED


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("count = 210", "count = 0", r"fitted\.count must be 1 or more"),
        ('sha256 = "aaaa', 'sha256 = "xaaa', r"fitted\.sha256 must be 64 hexadecimal"),
        ('date = "2026-11-25"', 'date = "today"', r"fitted\.date must be a day"),
        ('date = "2026-11-25"\n', "", r"fitted\.date is missing"),
        ("right = 20", "right = 61", r"right at most asked"),
        ("asked = 60, ", "", r"right at most asked"),
        ("seconds = 0.312", 'seconds = "soon"', r"fitted\.results\.seconds must be a number"),
        ("seconds = 0.312", "seconds = nan", r"seconds must be 0 or more"),
        ("seconds = 0.312", "hours = 1", r"unknown key fitted\.results\.hours"),
        ("count = 210", "count = 210\nmore = 1", r"unknown key fitted\.more"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, old: str, new: str, match: str) -> None:
    text = edited(MANIFEST)
    assert old in text
    with pytest.raises(ManifestError, match=match):
        read(tmp_path, text.replace(old, new))


@pytest.mark.parametrize("results", ["3", "[1]", '"a"'])
def test_results_must_be_tables(tmp_path: Path, results: str) -> None:
    head, _, _ = edited(MANIFEST).partition("results = ")
    with pytest.raises(ManifestError, match=r"fitted\.results must be a list of tables"):
        read(tmp_path, f"{head}results = {results}\n")


def test_documents_are_put_in_beside_it_and_changed_again(tmp_path: Path) -> None:
    first, other = (
        Documents("my-papers", "expert"),
        Documents("my-papers", "all", 5, 600, ("base",)),
    )
    once = with_fit(MANIFEST, PATH, STEERING, FITTED, first)
    assert read(tmp_path, once).documents == first
    twice = with_fit(once, PATH, STEERING, FITTED, other)
    assert read(tmp_path, twice).documents == other
    assert twice.count("[documents]") == twice.count("[fitted]") == 1
    assert "# from the shelf" in twice
    assert read(tmp_path, to_toml(read(tmp_path, twice))).documents == other


def test_documents_stay_where_none_are_given(tmp_path: Path) -> None:
    text = MANIFEST + '\n[documents] # mine\nindex = "papers"\nto = "all"\n'
    changed = edited(text)
    assert '[documents] # mine\nindex = "papers"' in changed
    assert read(tmp_path, changed).documents == Documents("papers", "all")


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ('to = "all"', r"documents\.index is missing"),
        ('index = "../papers"', r"documents\.index must be the name of an index"),
        ('index = "/etc/papers"', r"the name of an index, and no path"),
        ('index = "papers.sqlite"', r"the name of an index, and no path"),
        ('index = "p"\nto = "me"', r"documents\.to must be one of nobody, base, expert, all"),
        ('index = "p"\ncount = 0', r"documents\.count must be 1 or more"),
        ('index = "p"\ntokens = "many"', r"documents\.tokens must be a number of tokens"),
        ('index = "p"\nsystem = "base"', r"documents\.system must be an array of strings"),
        ('index = "p"\nsystem = ["me"]', r"system may name base, expert, anti_expert, tuned, not"),
        ('index = "p"\nfolder = "x"', r"unknown key documents\.folder"),
    ],
)
def test_wrong_documents_are_named(tmp_path: Path, table: str, match: str) -> None:
    with pytest.raises(ManifestError, match=match):
        read(tmp_path, f"{MANIFEST}\n[documents]\n{table}\n")
