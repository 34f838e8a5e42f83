"""Vectors of an index's passages: made once, gone on with, removed, and used to find passages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.cli import main
from edgeproxy.core.cancel import Flag
from edgeproxy.documents import vectors as module
from edgeproxy.documents.database import close_written, open_to_write
from edgeproxy.documents.embedding import Embedding, question_embedder, read_embedding
from edgeproxy.documents.index import Index
from edgeproxy.documents.passage_finder import PassageFinder
from edgeproxy.documents.search import Finder
from edgeproxy.documents.vectors import choose_model, make_vectors, model_of, remove_vectors
from edgeproxy.errors import Cancelled, DocumentError, EdgeproxyError, ModelFileError
from edgeproxy.llama import Embedder
from edgeproxy.prompts.messages import Message
from edgeproxy.trios.manifest import Documents
from tests.helpers.embedding_files import KnownEmbeds, write_encoder
from tests.helpers.gguf_files import draft
from tests.helpers.indexes import check, make_index, write

WORDS = ["heron", "francs", "zebra", "quiz", "jazz", "fjord", "vow", "plum", "kayak", "oxygen"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of ten documents."""
    for number, word in enumerate(WORDS):
        write(tmp_path / "notes" / f"{number}.txt", f"{word} {word}")
    path = tmp_path / "index.sqlite"
    make_index(path, tmp_path / "notes")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"stands for a model")
    return path


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)


def chosen(index: Path, file: Path, **more: Any) -> Embedding:
    return choose_model(index, file, KnownEmbeds(), **more)


def stored(path: Path) -> dict[str, bytes]:
    """The vectors by the texts of their passages."""
    with Index(path) as index:
        return dict(
            index.connection.execute(
                "SELECT text, vector FROM passages JOIN vectors ON id = passage"
            ).fetchall()
        )


def test_every_passage_gets_a_vector_once(index: Path, file: Path) -> None:
    model, embeds = chosen(index, file), KnownEmbeds()
    assert make_vectors(index, model, embeds).vectors == len(WORDS)
    assert embeds.is_closed
    assert sorted(embeds.seen) == sorted(f"{word} {word}" for word in WORDS)
    found = stored(index)
    assert len(found) == len(WORDS)
    for text, vector in found.items():
        wanted = KnownEmbeds().embed([text])[0]
        assert np.frombuffer(vector, "<f2") == pytest.approx(wanted, abs=1e-3)
    again = KnownEmbeds()
    assert make_vectors(index, model, again).vectors == 0
    assert again.seen == []
    assert model_of(index) == model
    check(index)


def test_only_new_passages_get_one_and_those_of_what_is_gone_go(
    index: Path, file: Path, tmp_path: Path
) -> None:
    model = chosen(index, file)
    make_vectors(index, model, KnownEmbeds())
    write(tmp_path / "notes" / "new.txt", "walrus")
    (tmp_path / "notes" / "1.txt").unlink()
    write(tmp_path / "notes" / "2.txt", "gnu", mtime_ns=1_700_000_000_000_000_000)
    make_index(index, tmp_path / "notes")
    assert len(stored(index)) == len(WORDS) - 2
    embeds = KnownEmbeds()
    make_vectors(index, model, embeds)
    assert sorted(embeds.seen) == ["gnu", "walrus"]
    with Index(index) as opened:
        assert opened.vector_count() == opened.passage_count() == len(WORDS)


@pytest.mark.parametrize("after", range(0, 11))
def test_interrupted_and_gone_on_with_it_is_as_if_not(
    after: int, index: Path, file: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.sqlite"
    shutil.copy(index, whole)
    model = chosen(index, file)
    make_vectors(whole, model, KnownEmbeds())
    with pytest.raises(KeyboardInterrupt) if after < len(WORDS) else nullcontext():
        make_vectors(index, model, KnownEmbeds(stop_after=after))
    kept = len(stored(index))
    assert kept == (after // 3 * 3 if after < len(WORDS) else len(WORDS))
    assert make_vectors(index, model, KnownEmbeds()).vectors == len(WORDS) - kept
    assert stored(index) == stored(whole)


def test_cancelling_keeps_what_was_made(index: Path, file: Path) -> None:
    cancel, seen = Flag(), []

    def progress(what: str, done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            cancel.set()

    model = chosen(index, file)
    with pytest.raises(Cancelled):
        make_vectors(index, model, KnownEmbeds(), progress=progress, cancel=cancel)
    assert 0 < len(stored(index)) < len(WORDS)
    assert 0 == seen[0][0] < seen[2][0] < seen[2][1]


def test_another_model_makes_all_anew_and_a_moved_one_does_not(
    index: Path, file: Path, tmp_path: Path
) -> None:
    make_vectors(index, chosen(index, file, question="query: "), KnownEmbeds())
    moved = file.rename(tmp_path / "moved.gguf")
    same = chosen(index, moved)
    assert same.question == "query: "
    assert make_vectors(index, same, KnownEmbeds()).vectors == 0
    assert model_of(index) == same
    other = tmp_path / "other.gguf"
    other.write_bytes(b"another model")
    assert make_vectors(index, chosen(index, other), KnownEmbeds()).vectors == len(WORDS)
    assert chosen(index, other).question == ""
    embeds = KnownEmbeds()
    make_vectors(index, chosen(index, other, passage="passage: "), embeds)
    assert all(text.startswith("passage: ") for text in embeds.seen)
    assert len(embeds.seen) == len(WORDS)
    assert remove_vectors(index) == len(WORDS)
    assert model_of(index) is None
    assert stored(index) == {}


def test_a_model_that_is_gone_or_another_is_told_of_and_not_passed_over(
    index: Path, file: Path
) -> None:
    model = chosen(index, file)
    make_vectors(index, model, KnownEmbeds())
    asked = Documents(index=str(index))
    finder = PassageFinder(asked, len, KnownEmbeds())
    os.utime(file, ns=(1, 1))  # the same bytes
    assert finder([Message("user", "jazz")])
    finder.close()
    file.write_bytes(b"stands for a mOdel")
    for _ in range(2):
        with pytest.raises(DocumentError, match=r"another file now.*--embed FILE.*--no-embed"):
            PassageFinder(asked, len, KnownEmbeds())
        with pytest.raises(DocumentError):
            _question(index)
        file.unlink(missing_ok=True)
        file.write_bytes(b"longer than it was before")
    file.unlink()
    with pytest.raises(DocumentError, match="cannot be read"):
        _question(index)


def _question(path: Path) -> None:
    with Index(path) as index:
        question_embedder(index, KnownEmbeds())


def test_vectors_of_other_dimensions_are_an_error(index: Path, file: Path) -> None:
    model = chosen(index, file)

    class Other(KnownEmbeds):
        dimensions = 5

    with pytest.raises(DocumentError, match="5 dimensions, not 26"):
        make_vectors(index, model, Other())


def test_numbers_that_are_none_are_never_kept(index: Path, file: Path) -> None:
    class Odd(KnownEmbeds):
        def embed(self, texts: Any) -> Any:
            return np.full((len(texts), 26), np.nan)

    with pytest.raises(EdgeproxyError, match="finite"):
        make_vectors(index, chosen(index, file), Odd())
    assert stored(index) == {}


HOSTILE = ["", "null", "[]", "{}", '{"path": 1}', "[" * 100_000]
HOSTILE += ['{"path":"a","size":"b","mtime_ns":1,"sha256":"","dimensions":1}']
HOSTILE += ['{"path":"a","size":1,"mtime_ns":1,"sha256":"","dimensions":1e9}']


@pytest.mark.parametrize("written", HOSTILE)
def test_settings_that_nobody_wrote(written: str, index: Path) -> None:
    connection = open_to_write(index)
    connection.execute("INSERT INTO settings VALUES('embedding', ?)", [written])
    with pytest.raises(DocumentError, match="damaged"):
        read_embedding(connection, index)
    close_written(connection)


def test_a_question_without_a_common_word_is_found(index: Path, file: Path) -> None:
    make_vectors(index, chosen(index, file), KnownEmbeds())
    with Index(index) as opened:
        embed = question_embedder(opened, KnownEmbeds())
        with Finder(opened.connection, embed) as finder:
            [found] = finder.find("zazj", count=1)  # as letters are counted, jazz is nearest
            assert found.passage.text == "jazz jazz"
            [found] = finder.find("heron", count=1)
            assert found.passage.text == "heron heron"
            assert finder.find("  ") == []
        with Finder(opened.connection) as finder:
            assert finder.find("zazj") == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        write(tmp_path / "notes" / f"{number}.txt", f"heron {number}")
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: (lambda out: out.out + out.err)(capsys.readouterr())


def test_from_a_folder_to_a_passage_by_a_real_file(home: Path, said: Any) -> None:
    write_encoder(home / "model.gguf")
    embed = ["index", "notes", "-o", "work", "--embed", "model.gguf"]
    assert main([*embed, "--embed-question", "query: "]) == 0
    assert "5 vectors made" in said()
    assert main(["index", "show", "work"]) == 0
    shown = said()
    assert str(home / "model.gguf") in shown
    assert "5 of 5 passages, of 32 dimensions" in shown
    assert "'query: ' before a question" in shown
    assert main(["index", "search", "work", "heron"]) == 0
    assert "heron" in said()
    write(home / "notes" / "5.txt", "another heron")
    assert main(["index", "-o", "work"]) == 0
    assert "1 vectors made" in said()
    (home / "model.gguf").rename(home / "away.gguf")
    assert main(["index", "search", "work", "heron"]) == 1
    assert "--no-embed" in said()
    assert main(["index", "-o", "work"]) == 1
    assert main(["index", "search", "work", "heron", "--no-embed"]) == 0
    assert main(["index", "-o", "work", "--embed", "away.gguf"]) == 0
    assert "vectors made" not in said()
    write_encoder(home / "other.gguf", seed=1)
    assert main(["index", "-o", "work", "--embed", "other.gguf"]) == 0
    assert "6 vectors made" in said()
    assert main(["index", "-o", "work", "--no-embed"]) == 0
    assert main(["index", "show", "work"]) == 0
    assert "embedding" not in said()


def test_a_model_that_writes_is_taken_and_warned_of(home: Path, said: Any) -> None:
    draft("llama").write(home / "chat.gguf")
    assert main(["index", "notes", "-o", "work", "--embed", "chat.gguf"]) == 0
    assert "was not made to embed texts" in (found := said())
    assert "5 vectors made" in found
    write_encoder(home / "model.gguf")
    assert main(["index", "-o", "work", "--embed", "model.gguf"]) == 0
    assert "was not made" not in said()


def test_what_is_no_embedding_model_is_refused_before_anything_is_indexed(
    home: Path, said: Any
) -> None:
    made = draft("llama")
    made.metadata["general.type"] = "mmproj"
    made.write(home / "projector.gguf")
    (home / "damaged.gguf").write_bytes(b"GGUF")
    for name in ("projector.gguf", "damaged.gguf", "nowhere.gguf", "notes"):
        assert main(["index", "notes", "-o", "work", "--embed", name]) == 2
        assert name in said()
    assert main(["index", "ls"]) == 0
    assert "work" not in said()
    assert main(["index", "notes", "-o", "work", "--embed", "x", "--no-embed"]) == 2
    assert main(["index", "notes", "-o", "work", "--embed-question", "query: "]) == 2


def test_a_model_that_changes_while_it_is_hashed(tmp_path: Path, index: Path, file: Path) -> None:
    with pytest.raises(ModelFileError, match="changed"):
        chosen(index, file, progress=lambda *_: os.utime(file, ns=(5, 5)))


KILLED = """
import sys
from pathlib import Path
from edgeproxy.documents import vectors
from edgeproxy.llama import Embedder
vectors.AT_ONCE, vectors.TRANSACTION = 3, 0
index, file = map(Path, sys.argv[1:])
model = vectors.choose_model(index, file, Embedder)
told = []
def progress(what, done, size):
    told.append(done)
    print(done, flush=True)
    if len(told) == 3:
        sys.stdin.read()  # until it is killed
vectors.make_vectors(index, model, Embedder, progress=progress)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills by a signal")
def test_killed_and_gone_on_with(index: Path, tmp_path: Path) -> None:
    file = write_encoder(tmp_path / "encoder.gguf")
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(index), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.stdin.close()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    kept = stored(index)
    assert 3 <= len(kept) < len(WORDS)
    model = model_of(index)
    assert model is not None
    made = make_vectors(index, model, Embedder)
    assert made.vectors == len(WORDS) - len(kept)
    assert kept.items() <= stored(index).items()
    check(index)
