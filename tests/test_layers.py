"""The rooms: a module imports only from those above it, and a few things happen in one place.

`python -m tests.test_layers` prints each room with those that it imports from.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import pytest

from edgeproxy.cli import VERBS

PACKAGE = Path(__file__).parent.parent / "edgeproxy"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

LAYERS = (
    "errors",
    "units",
    "text",
    "files",
    "children",
    "gguf",
    "core",
    "grammar",
    "remote",
    "llama",
    "align",
    "decode",
    "prompts",
    "trios",
    "documents",
    "tune",
    "session",
    "explain",
    "worker",
    "history",
    "serve",
    "measure",
    "cli",
    "__main__",
)
"""The rooms, downwards: each may import from those above it."""

MAY_IMPORT_LLAMA = {"decode/sample.py", "tune", "session", "measure", "cli"}
"""The others work with any `Model`, and are tested without weights."""

CHILDREN = {
    "prompts/jinja.py",
    "tune/llama_child.py",
    "measure/judging/pattern_child.py",
    "worker/child.py",
}
"""What runs as a process of its own, whose standard output is its answer."""

OUTPUT = {"print", "sys.exit", "exit", "quit", "os._exit", "sys.stdout", "sys.stderr"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer_of(path: Path) -> str:
    """The row of the table that a file belongs to: a folder is one row."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(source: str) -> Iterator[str]:
    """Every module that `source` imports anywhere, with its full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno} hides its layer"
            assert node.module is not None
            yield node.module
            if node.module == "edgeproxy":
                yield from (f"edgeproxy.{alias.name}" for alias in node.names)


def modules() -> dict[str, str]:
    """The source of every module, by its full name."""
    found = {}
    for path in MODULES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path.read_text("utf-8")
    return found


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each one imports, anywhere in it and for type checkers alone too."""
    return {
        name: {other for other in imported_modules(source, sources) if other != name}
        for name, source in sources.items()
    }


def imported_modules(source: str, known: Container[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module in known:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in known else node.module


def in_cycles(imports: Mapping[str, set[str]]) -> set[str]:
    """What is left when modules that import nothing left, or that nothing left imports, go."""
    left = {name: set(others) for name, others in imports.items()}
    while True:
        used = set().union(*left.values())
        stay = {name for name, others in left.items() if name in used and others}
        if stay == left.keys():
            return stay
        left = {name: left[name] & stay for name in stay}


def layers_imported(source: str) -> set[str]:
    parts = (name.split(".") for name in imported(source))
    found = {part[1] for part in parts if part[0] == "edgeproxy" and len(part) > 1}
    return {layer for layer in found if layer in LAYERS}


def violations(module: str, source: str) -> set[str]:
    """The rooms that `module`, such as `decode/fuse.py`, imports from although it may not."""
    layer = module.partition("/")[0].removesuffix(".py")
    above = set(LAYERS[: LAYERS.index(layer)]) | {layer}
    if not {layer, module} & MAY_IMPORT_LLAMA:
        above -= {"llama"} - {layer}
    return layers_imported(source) - above


def uses(source: str) -> set[str]:
    """Dotted names that `source` reads, such as `sys.exit`."""
    nodes = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name | ast.Attribute))
    return {ast.unparse(node) for node in nodes}


below_the_top = pytest.mark.parametrize(
    "path", [path for path in MODULES if path != PACKAGE / "__init__.py"], ids=name_of
)
every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


@below_the_top
def test_a_module_imports_only_from_the_layers_above_it(path: Path) -> None:
    assert layer_of(path) in LAYERS, f"{name_of(path)} has no row in the table of layers"
    assert violations(path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("align/reader.py", "from edgeproxy.decode.trio import Trio", {"decode"}),
        ("decode/fuse.py", "from edgeproxy.llama import Weights", {"llama"}),
        ("decode/text.py", "def f():\n    import edgeproxy.session.conversation", {"session"}),
        ("errors.py", "from edgeproxy import core", {"core"}),
        ("decode/sample.py", "from edgeproxy.llama import SamplerChain", set()),
        ("cli/run.py", "from edgeproxy import __version__, load", set()),
    ],
)
def test_the_table_would_catch_a_wrong_import(module: str, source: str, wrong: set[str]) -> None:
    assert violations(module, source) == wrong


def test_no_modules_import_each_other() -> None:
    assert in_cycles(graph(modules())) == set()


def test_a_cycle_would_be_found() -> None:
    sources = {
        "edgeproxy": "import math",
        "edgeproxy.a": "if TYPE_CHECKING:\n    from edgeproxy.b import B",
        "edgeproxy.b": "def f():\n    import edgeproxy.c",
        "edgeproxy.c": "from edgeproxy import a, d",
        "edgeproxy.d": "from edgeproxy import __version__",
        "edgeproxy.e": "import edgeproxy.a",
    }
    assert in_cycles(graph(sources)) == {"edgeproxy.a", "edgeproxy.b", "edgeproxy.c"}


def test_every_verb_has_a_file_and_every_file_a_verb() -> None:
    files = {path.stem for path in (PACKAGE / "cli").glob("*.py")}
    assert files - {"__init__"} == set(VERBS)
    folders = {path.parent.name for path in (PACKAGE / "cli").glob("*/*.py")}
    assert folders == {"chatting", "ui"}


@every_module
def test_llama_cpp_is_imported_in_one_file(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path.read_text("utf-8"))}
    assert ("llama_cpp" in roots) == (path == PACKAGE / "llama" / "library.py")


@every_module
def test_nothing_is_unpickled(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path.read_text("utf-8"))}
    assert not roots & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "diskcache"}


@every_module
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if layer_of(path) in ("cli", "__main__") or name_of(path) in CHILDREN:
        return
    assert uses(path.read_text("utf-8")) & OUTPUT == set()


@every_module
def test_a_module_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_a_tool_can_be_too() -> None:
    tools = PACKAGE.parent / "tools"
    sentences = tools / "factbook" / "phrases.py"  # nearly all of it is data
    long = [
        path
        for path in tools.rglob("*.py")
        if len(path.read_text("utf-8").splitlines()) > MAX_LINES and path != sentences
    ]
    assert long == []


def test_the_top_of_the_package_imports_nothing_at_once() -> None:
    source = (PACKAGE / "__init__.py").read_text("utf-8")
    at_once = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in at_once} == {"__future__", "importlib", "typing"}


def test_no_path_of_a_developers_machine_is_in_the_code() -> None:
    found = [name_of(p) for p in MODULES if re.search(r"/(home|work|Users)/", p.read_text("utf-8"))]
    assert found == []


def print_rooms() -> None:
    """Print each room, downwards, and which of those above it imports from."""
    for room in LAYERS:
        sources = [path.read_text("utf-8") for path in MODULES if layer_of(path) == room]
        above = set().union(*map(layers_imported, sources)) - {room}
        print(f"{room:<10} imports from {', '.join(sorted(above, key=LAYERS.index)) or 'none'}")


if __name__ == "__main__":
    print_rooms()
