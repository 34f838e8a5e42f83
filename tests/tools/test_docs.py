"""README and docs/: generated parts, links, and whether what they list is what the code has."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeproxy
from edgeproxy import Session, errors
from edgeproxy.cli import VERBS
from edgeproxy.measure.judging import JUDGES
from edgeproxy.prompts.formats import FORMATS, FROM_FILE
from edgeproxy.trios.manifest import fitted, read, read_recipe
from tests.test_layers import LAYERS
from tools import docs, links

DOCS = docs.REPOSITORY / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def test_a_generated_part_is_written_between_its_markers() -> None:
    text = "before\n<!-- begin: help -->\nstale\n<!-- end -->\nafter\n"
    rendered = docs.render(text)
    assert rendered.startswith("before\n<!-- begin: help -->\n```text\nUsage: edgeproxy ")
    assert rendered.endswith("```\n<!-- end -->\nafter\n")
    assert "stale" not in rendered
    assert docs.render(rendered) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "<!-- begin: weather -->\n<!-- end -->",
        "<!-- begin: tree -->\nnever ended",
        "<!-- end -->",
    ],
)
def test_a_part_that_nothing_generates_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nothing generates|lacks its"):
        docs.render(text)


def test_every_verb_and_every_verb_of_its_own_has_its_help() -> None:
    rendered = docs.render("<!-- begin: verbs -->\n<!-- end -->")
    headings = set(re.findall(r"^###? (.+)$", rendered, re.MULTILINE))
    assert set(VERBS) <= headings
    assert {"bundle create", "bundle install"} <= headings
    for heading in headings:
        assert f"Usage: edgeproxy {heading} [OPTIONS]" in rendered


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small one that stands for this one, in which nothing is wrong."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A title\n\nSee [docs](docs/README.md).\n", "utf-8")
    (tmp_path / "docs" / "README.md").write_text("# Pages\n\n[cli](cli.md)\n", "utf-8")
    (tmp_path / "docs" / "cli.md").write_text("# The command line\n", "utf-8")
    monkeypatch.setattr(docs, "REPOSITORY", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["docs", *arguments])
    return docs.main()


def test_a_stale_page_is_reported_and_left_alone(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--check") == 0
    stale = "# The command line\n<!-- begin: help -->\nstale\n<!-- end -->\n"
    path = repository / "docs" / "cli.md"
    path.write_text(stale, "utf-8")
    assert run(monkeypatch, "--check") == 1
    assert "docs/cli.md is not current; run: make docs" in capsys.readouterr().err
    assert path.read_text("utf-8") == stale
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0


def test_a_part_without_an_end_is_reported_with_its_page(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "docs" / "cli.md").write_text("# x\n<!-- begin: help -->\n", "utf-8")
    assert run(monkeypatch) == 1
    assert "docs/cli.md: a '<!-- begin: NAME -->' lacks its" in capsys.readouterr().err


def test_a_readme_that_grew_too_long_is_reported(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "README.md").write_text("a line\n" * (docs.README_LINES + 1), "utf-8")
    assert run(monkeypatch, "--check") == 1
    assert "README.md: 251 lines; at most 250" in capsys.readouterr().err


def test_a_page_that_the_index_does_not_name_is_reported(repository: Path) -> None:
    (repository / "docs" / "lost.md").write_text("# Lost\n", "utf-8")
    assert docs.faults(repository) == ["docs/README.md: lost.md is not in this list of pages"]


@pytest.mark.parametrize(
    "link",
    [
        "[gone](docs/gone.md)",
        "[gone](docs/cli.md#nowhere)",
        "[gone](#nowhere)",
        "![gone](picture.svg)",
        "[two\nlines](docs/gone.md)",
        "[gone][1]\n\n[1]: docs/gone.md",
        "[outside](../outside.md)",
        '[gone](docs/gone.md "with a title")',
    ],
)
def test_a_link_that_leads_nowhere_is_reported(repository: Path, link: str) -> None:
    readme = repository / "README.md"
    readme.write_text(readme.read_text("utf-8") + link + "\n", "utf-8")
    (fault,) = docs.faults(repository)
    assert fault.startswith("README.md: the link to ")


@pytest.mark.parametrize(
    "text",
    [
        "[there](docs/cli.md)",
        "[a heading](docs/cli.md#the-command-line)",
        "[here](#a-title)",
        "[a folder](docs)",
        "[the web](https://example.org/page#part)",
        "`[code](docs/gone.md)`",
        "```\n[code](docs/gone.md)\n```",
    ],
)
def test_a_link_that_leads_somewhere_is_not(repository: Path, text: str) -> None:
    readme = repository / "README.md"
    readme.write_text(readme.read_text("utf-8") + text + "\n", "utf-8")
    assert docs.faults(repository) == []


def test_headings_become_anchors_as_on_github(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# `trio.toml`, every key\n## Twice\n## Twice\n```sh\n# not a heading\n```\n"
        "## A [link](there.md) and Ümlaut?\n",
        "utf-8",
    )
    assert links.anchors(path) == {"triotoml-every-key", "twice", "twice-1", "a-link-and-ümlaut"}


def test_the_tree_names_every_module_with_a_phrase() -> None:
    tree = docs.tree(docs.REPOSITORY)
    modules = [line.split(maxsplit=1) for line in tree if line.split()[0].endswith(".py")]
    assert {"fuse.py", "stepwise.py", "random_trio.py", "test_docs.py"} <= {m[0] for m in modules}
    assert [line for line in modules if len(line) < 2] == []


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the table below `heading`, without those of its head."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, flags=re.MULTILINE)[0]
    for line in re.findall(r"^\| *`.*\|$", section, re.MULTILINE):
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


KEYS = {
    "The trio": set(read.RECIPE_KEYS),
    "A model": set(read.ROLE_KEYS),
    "A base on a server": {*read.SERVER_KEYS, "tokenizer"},
    "An expert that is an adapter": set(read.ADAPTED_KEYS),
    "The adapter": set(read.LORA_KEYS),
    "Several experts": set(read.EXPERTS_KEYS),
    "What fit found": set(fitted.KEYS),
    "Documents": set(read.DOCUMENTS_KEYS),
    "Memory": set(read.MEMORY_KEYS),
}


@pytest.mark.parametrize("heading", KEYS)
def test_the_manifests_keys_are_those_that_the_reader_knows(heading: str) -> None:
    listed = [row[0].strip("`") for row in rows(page("trio-toml.md"), heading)]
    assert len(listed) == len(set(listed))
    assert set(listed) == KEYS[heading]


def test_the_manifests_defaults_are_the_readers(tmp_path: Path) -> None:
    roles = (f'[{role}]\nfile = "{role}.gguf"\n' for role in ("base", "anti_expert"))
    expert = '[expert]\nlora = { file = "lora.gguf" }\n'
    path = tmp_path / "trio.toml"
    path.write_text(f'name = "small"\n{"".join(roles)}{expert}', "utf-8")
    recipe = read_recipe(path)
    text = page("trio-toml.md")
    said = {row[0].strip("`"): row[2] for row in rows(text, "The trio")}
    for key in ("alpha", "base_weight", "plausibility"):
        assert float(said[key].strip("`")) == getattr(recipe.steering, key)
    assert float(said["temperature"].strip("`")) == recipe.temperature
    assert said["verified"].strip("`") == str(recipe.verified).lower()
    assert said["name"] == said["base"] == "required"
    said = {row[0].strip("`"): row[2] for row in rows(text, "A model")}
    assert said["prompt"].strip("`") == recipe.base.prompt
    assert len(recipe.expert.loras) == 1
    said = {row[0].strip("`"): row[2] for row in rows(text, "The adapter")}
    assert float(said["scale"].strip("`")) == recipe.expert.loras[0].scale


def test_the_manifests_examples_are_read_without_a_complaint(tmp_path: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", page("trio-toml.md"), re.DOTALL | re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        path = tmp_path / "trio.toml"
        path.write_text(example, "utf-8")
        assert read_recipe(path).name


def test_every_prompt_format_is_described() -> None:
    listed = {row[0].strip("`") for row in rows(page("trio-toml.md"), "Prompt formats")}
    assert listed == {*FORMATS, FROM_FILE}


def test_every_environment_variable_is_described() -> None:
    package = docs.REPOSITORY / "edgeproxy"
    sources = [path.read_text("utf-8") for path in package.rglob("*.py")]
    ours = {name for s in sources for name in re.findall(r'"_?(EDGEPROXY_[A-Z_]+)"', s)}
    listed = {row[0].strip("`") for row in rows(page("cli.md"), "Environment variables")}
    assert ours - {"EDGEPROXY_COMPLETE"} == {n for n in listed if n.startswith("EDGEPROXY_")}


def test_every_error_and_every_public_name_is_described() -> None:
    text = page("python.md")
    listed = {row[0].split()[0].strip("`") for row in rows(text, "Errors")}
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert listed == raised - {"EdgeproxyError"}
    assert [name for name in edgeproxy.__all__ if f"`{name}`" not in text] == ["__version__"]


def test_every_room_is_described() -> None:
    listed = {
        name.strip("`/")
        for row in rows(page("architecture.md"), "The rooms")
        for name in row[0].split(", ")
    }
    assert {*LAYERS, "files"} - {"__main__"} == listed


NAMED = re.compile(r"`((?:\w[\w.-]*/)+[\w.-]+\.(?:py|md|toml|jsonl))`")
"""A path in backticks, such as `decode/trio.py`: of the repository, or within the package."""


@pytest.mark.parametrize("path", docs.pages(docs.REPOSITORY), ids=lambda path: path.name)
def test_every_file_that_a_page_names_is_there(path: Path) -> None:
    tops = [docs.REPOSITORY, docs.REPOSITORY / "edgeproxy"]
    named = NAMED.findall(path.read_text("utf-8"))
    assert [name for name in named if not any((top / name).exists() for top in tops)] == []


@pytest.mark.weights
@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_the_python_that_is_shown_runs(name: str, session: Session) -> None:
    text = (docs.REPOSITORY / name).read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        names = {"edgeproxy": edgeproxy, "session": session, "messages": "Hello"}
        exec(compile(block, name, "exec"), names)


def test_every_name_in_the_walk_of_a_reply_is_in_the_code() -> None:
    sources = (path.read_text("utf-8") for path in (docs.REPOSITORY / "edgeproxy").rglob("*.py"))
    tree = [node for source in sources for node in ast.walk(ast.parse(source))]
    classes = {node.name: node for node in tree if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in tree if isinstance(node, ast.FunctionDef)}
    constants = {node.id for node in tree if isinstance(node, ast.Name)}
    text = page("architecture.md")
    for name, method in re.findall(r"`([A-Z]\w+)\.(\w+)`", text):
        own = {node.name for node in ast.walk(classes[name]) if isinstance(node, ast.FunctionDef)}
        assert method in own, f"{name}.{method}"
    for name in re.findall(r"`(_?[A-Z][a-z]\w+|[A-Z]{2,}|_[a-z]\w+)`", text):
        if name != "KeyboardInterrupt":
            assert name in classes.keys() | functions | constants, name


def test_every_judge_has_a_row() -> None:
    listed = [(row[0].strip("`"), row[2]) for row in rows(page("judging.md"), "Judges")]
    assert [name for name, _ in listed] == list(JUDGES)
    for name, length in listed:
        assert f"{JUDGES[name].max_tokens} tokens" in length
