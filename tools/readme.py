"""Write the generated parts of README.md: the texts of `--help`, and the tree of files.

    python -m tools.readme [--check]

A part stands between `<!-- begin: NAME -->` and `<!-- end -->`; NAME is `tree`, `help`, or `help`
and a verb (`help bundle create`). With `--check` nothing is written: exit code 1 says that
README.md is not current.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from edgeproxy.cli import VERBS, edgeproxy
from tests.test_layers import LAYERS

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("edgeproxy", "models", "tests", "tools")
HELP_WIDTH = 88

_SHOWN = (".py", ".sh", ".md", ".toml", ".gguf", ".jsonl")
_PART = re.compile(r"(<!-- begin: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PHRASES = {
    "models": "Trios, each in a folder of its own.",
    "tests": "One file a module, and what they share.",
    "trio.toml": "the trio's manifest",
    "base.gguf": "the large untuned model",
    "expert.gguf": "the small tuned model",
    "anti-expert.gguf": "the small untuned model",
    "tuned.gguf": "the base tuned directly; only to measure against, not in the wheel",
}
"""What stands beside files that cannot say it themselves."""


def render(text: str) -> str:
    """`text` of a README with each of its generated parts as it should be.

    Raises `ValueError` for a part that nothing generates, and for a marker without its partner.
    """
    parts = len(_PART.findall(text))
    if (text.count("<!-- begin:"), text.count("<!-- end -->")) != (parts, parts):
        raise ValueError(
            "a '<!-- begin: NAME -->' lacks its '<!-- end -->', or the other way round"
        )
    return _PART.sub(lambda match: match[1] + _fenced(_content(match[2])) + match[3], text)


def _fenced(content: str) -> str:
    return f"```text\n{content}\n```\n"


def _content(name: str) -> str:
    if name == "tree":
        return "\n".join(tree(REPOSITORY))
    word, _, verb = name.partition(" ")
    if word != "help" or (verb and verb.split()[0] not in VERBS):
        raise ValueError(f"README.md asks for a part {name!r}, which nothing generates")
    return help_text(verb)


def help_text(verb: str = "") -> str:
    """What `edgeproxy VERB --help` prints, at a fixed width; of a verb's own verb, too."""
    arguments = [*verb.split(), "--help"]
    result = CliRunner().invoke(
        edgeproxy, arguments, prog_name="edgeproxy", terminal_width=HELP_WIDTH, color=False
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
    """The first paragraph of a module's docstring, a script's first comment, a text's title."""
    if path.name in _PHRASES:
        return _PHRASES[path.name]
    if path.suffix == ".py":
        text = path.read_text("utf-8") if path.is_file() else ""
        paragraph = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
        return " ".join(paragraph.split())
    if path.suffix in (".sh", ".md"):
        first = path.read_text("utf-8").partition("\n")[0]
        return first.lstrip("# ")
    return ""


def main() -> int:
    """Write README.md again, or check it; the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated parts of README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args().check
    path = REPOSITORY / "README.md"
    before = path.read_text("utf-8")
    after = render(before)
    if after == before:
        return 0
    if check:
        print("README.md is not current; run: make readme", file=sys.stderr)
        return 1
    path.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
