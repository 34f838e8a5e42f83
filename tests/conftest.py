"""Fixtures that need files: real vocabularies, a real model, a browser, the trio that ships.

May touch: the environment variables EDGEPROXY_VOCABS, EDGEPROXY_REAL, EDGEPROXY_SERVERS,
EDGEPROXY_VLLM, EDGEPROXY_CLIENTS and CI, read only; EDGEPROXY_CACHE and EDGEPROXY_HOME are set.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest
from hypothesis import settings

from edgeproxy.core.vocab import Vocab, from_header
from edgeproxy.gguf import read
from edgeproxy.llama import Weights
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.disk import regular_size
from edgeproxy.trios.find import Recipe, read_recipe
from tests.helpers.browsing import Browser, browser_programs
from tests.helpers.gguf_files import draft
from tools.models import real
from tools.models.real import default_folder
from tools.servers.build import default_folder as servers_folder
from tools.servers.build import program_in

REPOSITORY = Path(__file__).parent.parent
VOCABS = ("gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder")
HOW_TO_BUILD = "`make servers` builds llama-server, in about five minutes"
HOW_TO_SERVE = "`python -m tools.servers vllm FOLDER` sets vLLM up, and EDGEPROXY_VLLM names it"
HOW_TO_CONNECT = "`python -m tools.serving clients FOLDER`, and EDGEPROXY_CLIENTS names it"
HOW_TO_BROWSE = "`make programs` installs Chromium and its driver"
HOW_TO_SHOW = "`make programs` installs Xvfb; Tk comes with Python, or as python3-tk"
HOW_TO_GET = "`python -m tools.models.real` gets the real models and vocabularies that tests read"

# The same examples each time, and no deadlines: a busy machine must not fail a test.
settings.register_profile("edgeproxy", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("edgeproxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that no process works at the last one while others are idle.

    What needs the real tokenizers is slow: each process of the tests loads them for itself.
    """
    for item in items:
        if "tokenizers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Alignments and installed trios are kept in folders of these tests', not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROXY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EDGEPROXY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _same_chances(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session's id and a reply's seed, drawn by chance, are a test's own in every run.

    Without this a short id begins as a name does, or a drawn reply is short, once in many runs.
    """
    chance = Random(request.node.nodeid)
    monkeypatch.setattr(secrets, "choice", chance.choice)
    monkeypatch.setattr(secrets, "randbelow", chance.randrange)


def left_out(what: str, how: str = HOW_TO_GET) -> NoReturn:
    """Skip a test for want of a real file, which a clone does not hold; in CI that is a failure."""
    reason = f"{what} not on this machine; {how}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run say what was left out for want of files."""
    skipped = terminalreporter.stats.get("skipped", ())
    hows = (
        *(HOW_TO_GET, HOW_TO_BUILD, HOW_TO_SERVE),
        *(HOW_TO_CONNECT, HOW_TO_BROWSE, HOW_TO_SHOW),
    )
    for how in hows:
        if count := sum(how in str(report.longrepr) for report in skipped):
            terminalreporter.write_line(f"{count} tests were left out: {how}", yellow=True)


@pytest.fixture(scope="session")
def vocabs() -> Path:
    """The folder of real vocabularies (ggml-vocab-*.gguf): a named one, a team's, or the cache."""
    named = os.environ.get("EDGEPROXY_VOCABS")
    folders = (
        [Path(named)] if named else [REPOSITORY.parent / "shared" / "vocabs", default_folder()]
    )
    for folder in folders:
        if all((folder / file.name).is_file() for file in real.VOCABS):
            return folder
    left_out("the real vocabularies are")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a real model of 98 MB."""
    path = default_folder() / real.SMOLLM2.name
    if regular_size(path) != real.SMOLLM2.size:
        left_out("SmolLM2-135M-Instruct is")
    return path


@pytest.fixture(scope="session")
def llama_server_program() -> Path:
    """llama-server, of the llama.cpp that edgeproxy itself runs on."""
    program = program_in(servers_folder())
    if not program.is_file():
        left_out("llama-server is", HOW_TO_BUILD)
    return program


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium without a window."""
    programs = browser_programs()
    if programs is None:
        left_out("Chromium is", HOW_TO_BROWSE)
    with Browser(*programs, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def axe_core() -> str:
    """The source of axe-core."""
    path = default_folder() / real.AXE.name
    if regular_size(path) != real.AXE.size:
        left_out("axe-core is")
    return path.read_text("utf-8")


@pytest.fixture(scope="session")
def vllm_folder() -> Path:
    """Where vLLM has been set up; in CI it is not, for it is 3 GB and takes minutes to start."""
    named = os.environ.get("EDGEPROXY_VLLM")
    if named is None:
        pytest.skip(f"vLLM is not on this machine; {HOW_TO_SERVE}")
    return Path(named)


@pytest.fixture(scope="session")
def clients_folder() -> Path:
    """Where others' clients of `serve` have been set up; not in CI, for they are 1.3 GB."""
    named = os.environ.get("EDGEPROXY_CLIENTS")
    if named is None:
        pytest.skip(f"others' clients are not on this machine; {HOW_TO_CONNECT}")
    return Path(named)


@pytest.fixture(scope="session")
def real_vocabs(vocabs: Path) -> dict[str, Vocab]:
    """The six real vocabularies by name, without their tokenizers."""
    return {
        name: from_header(read(vocabs / f"ggml-vocab-{name}.gguf", vocab_only=True))
        for name in VOCABS
    }


@pytest.fixture(scope="session")
def tokenizers(vocabs: Path) -> Iterator[dict[str, Vocab]]:
    """The six real vocabularies by name, with their tokenizers; about 1.3 s and 250 MB in all."""
    with ExitStack() as opened:
        yield {
            name: opened.enter_context(
                Weights(vocabs / f"ggml-vocab-{name}.gguf", vocab_only=True)
            ).vocab
            for name in VOCABS
        }


@pytest.fixture(scope="session")
def factbook() -> Path:
    """The manifest of the trio that ships."""
    path = REPOSITORY / "models" / "factbook" / "trio.toml"
    if not path.is_file():
        pytest.fail("models/factbook/trio.toml is missing: the trio that ships belongs to the repo")
    return path


@pytest.fixture(scope="session")
def factbook_recipe(factbook: Path) -> Recipe:
    return read_recipe(factbook)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama model of two blocks with random float32 weights and a byte-level vocabulary."""
    made = draft("llama")
    made.metadata["llama.context_length"] = 2048
    return made.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def tiny(tiny_file: Path) -> Iterator[Weights]:
    with Weights(tiny_file) as weights:
        yield weights


@pytest.fixture(scope="module")
def base_weights(factbook_recipe: Recipe) -> Iterator[Weights]:
    """The shipped base."""
    with Weights(factbook_recipe.base.path) as weights:
        yield weights


@pytest.fixture(scope="module")
def session(factbook_recipe: Recipe) -> Iterator[Session]:
    """The shipped trio, loaded; a test that changes its alpha or mask changes it back."""
    with load(factbook_recipe) as loaded:
        yield loaded
