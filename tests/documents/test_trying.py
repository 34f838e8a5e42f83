"""Documents that try something: all indexed, none of it in a prompt as a marker or on a terminal.

What models make of what they say is measured by `python -m tools.documents hostile`.
"""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui import output
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.vocab import Vocab
from edgeproxy.documents.citing import cite, in_words
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.search import Finder
from edgeproxy.prompts.formats import FORMATS, FROM_FILE, make_format
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.renderer import Renderer
from tests.helpers.fakes import fake_vocab
from tools.documents.attacks import EACH, FAMILIES
from tools.documents.hostile import make
from tools.documents.hostile_files import KINDS, Hostile, harmless, hostile
from tools.documents.prompts import strays
from tools.documents.terminal import raw, shown


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Hostile], dict[str, str]]:
    """The index of all documents, those that are hostile, and those that were refused."""
    return make(tmp_path_factory.mktemp("trying"), Working())


@pytest.fixture(scope="module")
def passages(made: tuple[Path, list[Hostile], dict[str, str]]) -> list[Passage]:
    with Index(made[0]) as index:
        return [p for document in index.documents() for p in index.passages_of(document.path)]


def test_there_are_60_of_all_kinds_beside_20() -> None:
    found = hostile()
    assert len(found) == len({one.name for one in found}) == EACH * len(FAMILIES) == 60
    assert len({one.canary for one in found}) == len({one.question for one in found}) == 60
    assert {one.name.rpartition(".")[2] for one in found} == set(KINDS)
    assert len(harmless()) == 20
    assert {name.rpartition(".")[2] for name in harmless()} == set(KINDS)
    assert found == hostile()
    text = b"".join(harmless().values()).lower()
    assert not any(one.canary.encode() in text for one in found)


def test_all_are_indexed_and_found_beside_the_answer(
    made: tuple[Path, list[Hostile], dict[str, str]],
) -> None:
    index, documents, refused = made
    assert refused == {}
    with Index(index) as opened, Finder(opened.connection) as finder:
        assert opened.counts().documents == 80
        for one in documents:
            found = [hit.passage for hit in finder.find(one.question.text, budget=400)]
            assert one.name in [passage.path.name for passage in found], one.name
            assert any(one.question.is_said_in(passage.full_text) for passage in found), one.name


def test_no_passage_has_what_drives_a_terminal_or_hides(passages: list[Passage]) -> None:
    for passage in passages:
        text = passage.full_text + passage.place
        assert raw(text.encode()) == [], passage.path.name
        hidden = [c for c in text if unicodedata.category(c) == "Cf"]
        assert hidden == [], passage.path.name


@pytest.mark.parametrize("name", ["unicode-2.html", "unicode-8.csv"])
def test_an_order_that_nobody_sees_is_gone(passages: list[Passage], name: str) -> None:
    """Tag characters and selectors of variants: what a person sees is one letter."""
    [passage] = [passage for passage in passages if passage.path.name == name]
    seen = passage.text.rpartition(": ")[2]
    assert seen.rstrip("\ufe00\ufe01\ufe02\ufe03\ufe04\ufe05\ufe06") == "x"
    assert len(seen) <= 2


@pytest.mark.parametrize("name", ["markup-1.html", "markup-2.html"])
def test_what_html_hides_is_not_read(passages: list[Passage], name: str) -> None:
    [word] = [one.canary for one in hostile() if one.name == name]
    assert word not in "".join(p.full_text for p in passages if p.path.name == name)


def layouts(vocab: Vocab, renderer: Renderer) -> Iterator[tuple[str, object]]:
    """The formats that this vocabulary can be asked in."""
    known = markers_of(vocab)
    for name, layout in FORMATS.items():
        if all(known.leading(marker) is not None for marker in getattr(layout, "needs", ())):
            yield name, make_format(name, vocab, "it", renderer)
    if vocab.chat_template:
        yield FROM_FILE, make_format(FROM_FILE, vocab, "it", renderer)


def strays_of_all(vocab: Vocab, passages: list[Passage], more: list[str]) -> dict[str, list[str]]:
    """By format the markers that any passage, or all of them, brings into a prompt."""
    texts = [*(passage.full_text for passage in passages), *more]
    with_renderer = Renderer()
    try:
        return {
            name: [
                marker
                for some in (*([text] for text in texts), texts)
                for marker in strays(layout, vocab, "What is it?", some)  # type: ignore[arg-type]
            ]
            for name, layout in layouts(vocab, with_renderer)
        }
    finally:
        with_renderer.close()


def test_no_marker_reaches_a_prompt(passages: list[Passage]) -> None:
    vocab = fake_vocab()
    found = strays_of_all(vocab, passages, list(markers_of(vocab).reserved))
    assert found
    assert all(strayed == [] for strayed in found.values()), found


def test_a_marker_that_strays_is_seen() -> None:
    """What the two tests beside this one rest on."""
    vocab = fake_vocab()

    def careless(messages: object) -> list[object]:
        segments = FORMATS["chatml"](messages)  # type: ignore[arg-type]
        return [segment._replace(trusted=True) for segment in segments]

    found = strays(careless, vocab, "Hello?", ["a<|im_end|>b"])  # type: ignore[arg-type]
    assert found == ["<|im_end|>"]
    assert strays(careless, vocab, "Hello?", ["a b"]) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder"])
def test_no_marker_reaches_a_prompt_of_a_real_vocabulary(
    passages: list[Passage], tokenizers: dict[str, Vocab], name: str
) -> None:
    vocab = tokenizers[name]
    more = [f"a{marker}b" for marker in list(markers_of(vocab).reserved)[:300]]
    found = strays_of_all(vocab, passages, more)
    assert "plain" in found
    assert all(strayed == [] for strayed in found.values()), found


def test_sources_are_told_without_what_drives_a_terminal(passages: list[Passage]) -> None:
    """Also where a model repeats a passage, or what a document was before it was cleaned."""
    for document in hostile():
        reply = document.data.decode()
        near = [p for p in passages if p.path.name == document.name]
        nasty = Passage(1, Path("\x1b]0;x\x07\u202etxt.a"), 0, ("\x1b[2J",), "\x9b1m", reply)
        for line in in_words(cite(reply, [*near, nasty], "What is it?")):
            assert raw(line.encode("utf-8", "replace")) == []
            assert "\n" not in line


class Terminal(io.StringIO):
    """A standard output that a person reads."""

    def isatty(self) -> bool:
        return True


def test_what_a_model_repeats_reaches_a_terminal_without_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for document in hostile():
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        output.write(document.data.decode())
        controls = [c for c in terminal.getvalue() if unicodedata.category(c) == "Cc"]
        assert set(controls) <= {"\n", "\t"}, document.name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_search_on_a_terminal_shows_nothing_raw(
    made: tuple[Path, list[Hostile], dict[str, str]],
) -> None:
    index, documents, _ = made
    for one in documents[30:60:5]:
        data = shown(["-m", "edgeproxy", "index", "search", str(index), one.question.text])
        assert one.name.encode() in data
        assert raw(data) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_a_files_name_that_drives_a_terminal_is_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["\x1b]0;title\x07a.txt", "b\u202etxt.md.txt", "c\nd.txt", "\x9b31me.txt"]
    names += [os.fsdecode(b"f\xff.txt")] if sys.platform == "linux" else []
    (tmp_path / "notes").mkdir()
    for name in names:
        (tmp_path / "notes" / name).write_text(f"A fact of {len(name)} apples.")
    index = tmp_path / "index.sqlite"
    report = index_documents(index, [tmp_path / "notes"])
    assert report.new == len(names)
    for verb in (["search", str(index), "fact of apples", "--count", "9"], ["show", str(index)]):
        assert main(["index", *verb]) == 0
        found = capsys.readouterr()
        assert raw((found.out + found.err).encode("utf-8", "replace")) == []
        assert "fact" in found.out or verb[0] == "show"


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("readers", ["base", "all"])
def test_a_reply_on_a_terminal_shows_nothing_raw(
    made: tuple[Path, list[Hostile], dict[str, str]], factbook: Path, readers: str
) -> None:
    index, documents, _ = made
    for one in documents[30:40:3]:
        command = ["-m", "edgeproxy", "run", one.question.text, "--trio", str(factbook)]
        command += ["--docs", str(index), "--docs-to", readers, "--max-tokens", "24"]
        data = shown(command)
        assert b"from no document" in data or one.name.encode() in data or b"[1]" in data
        assert raw(data) == []
