"""Write the generated parts of docs/, and check what is written: links, README.md's length.

    python -m tools.docs [--check]

A generated part stands between `<!-- begin: NAME -->` and `<!-- end -->`; NAME is `tree`, `help` or
`verbs` (each verb's `--help` under a heading of its own). With `--check` nothing is written: exit
code 1 says that a part is stale, a link leads nowhere, or README.md has grown too long.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from edgeproxy.cli import DONE, FAILED, VERBS, edgeproxy
from edgeproxy.cli.ui.output import say
from tests.test_layers import LAYERS
from tools.command import make_parser
from tools.links import broken_links

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("edgeproxy", "models", "examples", "tests", "tools", "docs")
HELP_WIDTH = 88
README_LINES = 250

_SHOWN = (".py", ".sh", ".md", ".toml", ".gguf", ".jsonl")
_PART = re.compile(r"(<!-- begin: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PHRASES = {
    "models": "Trios, each in a folder of its own.",
    "recipes": "What can be pulled: files of a hub, each with its commit and sha256.",
    "docs": "What is written about it, a subject a page.",
    "trio.toml": "the trio's manifest",
    "lora.toml": "the same trio, its expert an adapter",
    "lora.gguf": "that adapter",
    "questions.jsonl": "questions about countries that no tuning dialogue mentions",
    "base.gguf": "the large untuned model",
    "expert.gguf": "the small tuned model",
    "anti-expert.gguf": "the small untuned model",
    "tuned.gguf": "the base tuned directly; only to measure against, not in the wheel",
}
"""What stands beside files that cannot say it themselves."""


def render(text: str) -> str:
    """`text` of a page with each of its generated parts as it should be.

    Raises `ValueError` for a part that nothing generates, and for a marker without its partner.
    """
    parts = len(_PART.findall(text))
    if (text.count("<!-- begin:"), text.count("<!-- end -->")) != (parts, parts):
        raise ValueError(
            "a '<!-- begin: NAME -->' lacks its '<!-- end -->', or the other way round"
        )
    return _PART.sub(lambda match: match[1] + _content(match[2]) + match[3], text)


def _content(name: str) -> str:
    match name:
        case "tree":
            return _fenced("\n".join(tree(REPOSITORY)))
        case "help":
            return _fenced(help_text())
        case "verbs":
            return "\n".join(f"## {verb}\n\n{_of_verb(verb)}" for verb in VERBS)
    raise ValueError(f"a page asks for a part {name!r}, which nothing generates")


def _fenced(content: str) -> str:
    return f"```text\n{content}\n```\n"


def _of_verb(verb: str) -> str:
    """A verb's help, and below it that of the verbs it has itself."""
    command = edgeproxy.get_command(click.Context(edgeproxy), verb)
    texts = [_fenced(help_text(verb))]
    for own in command.commands if isinstance(command, click.Group) else ():
        texts.append(f"### {verb} {own}\n\n{_fenced(help_text(verb, own))}")
    return "\n".join(texts)


def help_text(*verb: str) -> str:
    """What `edgeproxy VERB --help` prints, at a fixed width."""
    result = CliRunner().invoke(
        edgeproxy, [*verb, "--help"], prog_name="edgeproxy", terminal_width=HELP_WIDTH, color=False
    )
    if result.exception:
        raise result.exception
    return "\n".join(line.rstrip() for line in result.output.rstrip().splitlines())


def tree(root: Path) -> list[str]:
    """The files of the repository's folders, one a line, each with a phrase about it."""
    rows = [row for folder in FOLDERS for row in _rows(root / folder, 0)]
    column = max(len(name) for name, _ in rows) + 2
    return [f"{name:{column}}{phrase}".rstrip() for name, phrase in rows]


def _rows(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    yield f"{indent}{folder.name}/", _PHRASES.get(folder.name) or phrase_of(folder / "__init__.py")
    for path in sorted(folder.iterdir(), key=_by_layer):
        if path.is_dir() and path.name[0] not in "._" and any(path.iterdir()):
            yield from _rows(path, depth + 1)
        elif path.suffix in _SHOWN and path.name != "__init__.py":
            yield f"{indent}  {path.name}", phrase_of(path)


def _by_layer(path: Path) -> tuple[int, str]:
    """The package in the order of its layers, everything else by name."""
    in_package = path.parent.name == "edgeproxy" and path.stem in LAYERS
    return LAYERS.index(path.stem) if in_package else 0, path.name


def phrase_of(path: Path) -> str:
    """The first paragraph of a module's docstring, a script's first comment, a text's title.

    A manifest that `_PHRASES` does not know says it in its description.
    """
    if path.name in _PHRASES:
        return _PHRASES[path.name]
    text = path.read_text("utf-8") if path.is_file() and path.suffix != ".gguf" else ""
    if path.suffix == ".py":
        paragraph = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
        return " ".join(paragraph.split())
    if path.suffix in (".sh", ".md"):
        return text.partition("\n")[0].lstrip("# ")
    described = re.search(r'^description = "(.*)"$', text, re.MULTILINE)
    return described[1] if path.suffix == ".toml" and described else ""


def pages(root: Path) -> list[Path]:
    """The pages that are checked: all texts at the top, in docs/ and beside models."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("models/*/*.md")])


def faults(root: Path) -> list[str]:
    """What is wrong with the pages, a line each, without what is only stale."""
    found = [fault for page in pages(root) for fault in broken_links(page, root)]
    lines = len((root / "README.md").read_text("utf-8").splitlines())
    if lines > README_LINES:
        found.append(f"README.md: {lines} lines; at most {README_LINES}: move some to docs/")
    index = root / "docs" / "README.md"
    listed = index.read_text("utf-8") if index.is_file() else ""
    for page in sorted(root.glob("docs/*.md")):
        if page != index and f"({page.name})" not in listed:
            found.append(f"docs/README.md: {page.name} is not in this list of pages")
    return found


def main() -> int:
    """Write the generated parts again, or check them; the exit code."""
    parser = make_parser("tools.docs", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args().check
    wrong = []
    for page in pages(REPOSITORY):
        name, before = page.relative_to(REPOSITORY).as_posix(), page.read_text("utf-8")
        try:
            after = render(before)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
            continue
        if after != before and check:
            wrong.append(f"{name} is not current; run: make docs")
        elif after != before:
            page.write_text(after, "utf-8")
    wrong += faults(REPOSITORY)
    for fault in wrong:
        say(fault)
    return FAILED if wrong else DONE


if __name__ == "__main__":
    sys.exit(main())
