"""The recipes that ship: each is held to the schema, and what a recipe lacks is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeproxy.errors import ManifestError
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.trios.find import find_pullable, find_recipe, pullable_names
from edgeproxy.trios.manifest import read_pullable, to_toml
from tests.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "models" / "recipes").glob("*.toml"))
NAMES = [
    *("phi2-llama2-13b", "phi2-qwen2.5-7b", "qwen2.5-14b", "qwen2.5-7b"),
    *("qwen2.5-coder-14b", "tinyllama-llama2-13b"),
]


def test_these_are_the_recipes() -> None:
    assert [path.stem for path in RECIPES] == pullable_names() == NAMES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_all_that_a_pull_needs(path: Path) -> None:
    recipe = read_pullable(path)
    assert (recipe.name, recipe.verified, recipe.tuned) == (path.stem, False, None)
    assert recipe.description.endswith(".")
    assert recipe.memory is not None
    for role in recipe.roles.values():
        assert role.source is not None
        assert re.fullmatch(r"[0-9a-f]{40}", role.source.revision)
        assert re.fullmatch(r"[0-9a-f]{64}", role.sha256 or "")
        assert role.source.file.lower().endswith((".q4_k_m.gguf", ".q5_k_m.gguf", "-q4_k_m.gguf"))
        assert (role.size or role.approximate_size or 0) > 300e6
        assert (role.licence, role.architecture, role.vocabulary, role.blocks).count(None) == 0
        assert role.licence.split()[0] in recipe.licence
    assert [role.prompt for role in recipe.roles.values()][::2] == ["plain", "plain"]
    assert recipe.expert.prompt in {*FORMATS} - {"plain"}
    sizes = [role.size or role.approximate_size or 0 for role in recipe.roles.values()]
    assert sum(sizes) < recipe.memory.bytes < 1.4 * sum(sizes)
    expert, anti_expert = recipe.expert, recipe.anti_expert
    same = ("architecture", "vocabulary", "blocks")
    assert [getattr(expert, key) == getattr(anti_expert, key) for key in same] == [True] * 3


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_written_as_it_was_read(path: Path, tmp_path: Path) -> None:
    again = tmp_path / path.name
    again.write_text(to_toml(read_pullable(path)), "utf-8")
    assert read_pullable(again) == read_pullable(path)


def test_one_file_has_one_hash_in_all_recipes() -> None:
    seen: dict[object, object] = {}
    for name in NAMES:
        for role in find_pullable(name).roles.values():
            about = (role.sha256, role.size, role.vocabulary, role.blocks, role.licence)
            assert seen.setdefault(role.source, about) == about


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("verified = false", "verified = 0", "verified must be true or false"),
        ("memory = {", "memory = 3 #", "memory must be a table"),
        (", context = 4096", "", "memory.context is missing"),
        ("context = 4096", "context = 0", "memory.context must be 1 or more"),
        ("context = 4096", "context = 1, more = 1", "unknown key memory.more"),
        ("memory =", "# ", "memory is missing, and a recipe has to say it"),
        ('licence = "Apache-2.0"\nver', "ver", "licence is missing, and a recipe has to say it"),
        ("3ef12b623ad87f5a8447b8140655053a52f0dd94", "main", "base.revision must be a commit"),
        ('revision = "3ef', '# "3ef', "base.revision is missing"),
        ("mradermacher/Qwen2.5-7B-GGUF", "a/b/c", "base.repo must be a repository"),
        ("mradermacher/Qwen2.5-7B-GGUF", "../b", "base.repo must be a repository"),
        ('file = "Qwen2.5-7B', 'file = "../Qwen2.5-7B', "base.file must be a path in the repo"),
        ('file = "Qwen2.5-7B', 'file = "/Qwen2.5-7B', "base.file must be a path in the repo"),
        ('sha256 = "c1c8', '# "c1c8', "base.sha256 is missing"),
        ("vocabulary = 152064", 'vocabulary = "all"', "base.vocabulary must be a number of tokens"),
        ("blocks = 28", "blocks = -1", "base.blocks must be 1 or more"),
        ("blocks = 28", "layers = 28", "unknown key base.layers"),
        ("size = 491400032", "size = 1\napproximate_size = 1", "expert.approximate_size is of no"),
    ],
)
def test_a_bad_recipe_names_itself_and_the_key(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    text = (REPOSITORY / "models" / "recipes" / "qwen2.5-7b.toml").read_text("utf-8")
    assert old in text
    path = tmp_path / "r.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ManifestError) as error:
        read_pullable(path)
    assert str(error.value).startswith(f"{path}: {what}")


def test_what_is_not_pulled_yet_says_how_to_get_it() -> None:
    with pytest.raises(ManifestError, match=r"not installed yet; get it: edgeproxy pull qwen2\.5-"):
        find_recipe("qwen2.5-7b")
    with pytest.raises(ManifestError, match=r"no recipe called 'qwen' \(there are: phi2-llama2"):
        find_pullable("qwen")
