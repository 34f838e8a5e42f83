"""What would crash llama.cpp, or make it answer wrongly in silence, never reaches it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeproxy.errors import Cancelled, ContextFullError, EngineError, ModelFileError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama.batch import RunBatch
from edgeproxy.llama.branches import Tree, TreeBatch
from edgeproxy.llama.library import lib
from tests.helpers.near import assert_near


@pytest.mark.parametrize("n", [0, 5])
def test_a_batch_holds_no_more_than_it_was_made_for(n: int) -> None:
    batch = RunBatch(4)
    with pytest.raises(EngineError, match=f"a batch holds 1 to 4 tokens, not {n}"):
        batch.fill([5] * n, 0, 1)
    batch.free()
    batch.free()


@pytest.mark.parametrize("n", [0, 5])
def test_a_batch_of_paths_holds_no_more_either(n: int) -> None:
    batch = TreeBatch(4, 3)
    with pytest.raises(EngineError, match=f"a batch holds 1 to 4 tokens, not {n}"):
        batch.fill(Tree([(0, [5] * n)]))
    batch.free()


def test_a_batch_of_paths_holds_no_sequence_that_it_was_not_made_for() -> None:
    batch = TreeBatch(4, 2)
    with pytest.raises(EngineError, match="a batch holds 2 sequences, not"):
        batch.fill(Tree([(0, [5]), (0, [6]), (0, [7])]))
    batch.free()


@pytest.mark.parametrize(
    ("code", "error"),
    [(1, ContextFullError), (2, Cancelled), (-1, EngineError), (-3, EngineError)],
    ids=["no room", "aborted", "failed", "out of memory"],
)
@pytest.mark.parametrize("n", [1, 3])
def test_a_failed_evaluation_gives_no_row_of_an_earlier_one(
    tiny: Weights, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], n: int
) -> None:
    model = LlamaModel(tiny, n_ctx=64)
    before = model.eval([5, 6, 7]).copy()
    with monkeypatch.context() as patch:
        patch.setattr(lib, "llama_decode", lambda *_: code)
        with pytest.raises(error):
            model.eval([8] * n)
        with pytest.raises(error):
            model.branch([8] * n)
    assert model.n_past == 3
    model.rewind(3)
    assert_near(model.eval([5, 6, 7]), before)


def test_logits_that_llama_cpp_does_not_have_are_an_error(
    tiny: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LlamaModel(tiny, n_ctx=64)
    monkeypatch.setattr(lib, "llama_get_logits_ith", lambda *_: None)
    with pytest.raises(EngineError, match="gave no logits"):
        model.eval([5])
    assert model.n_past == 0


def test_a_context_that_cannot_be_made_is_an_error(
    tiny: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "llama_init_from_model", lambda *_: None)
    with pytest.raises(EngineError, match="no context of 64 tokens could be made"):
        LlamaModel(tiny, n_ctx=64)


@pytest.mark.parametrize("name", ["", "no\0name", "folder"])
def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    path = name if not name else f"{tmp_path}{os.sep}{name}"
    with pytest.raises(ModelFileError):
        Weights(path)


@pytest.mark.parametrize("what", ["cut", "overwritten"])
def test_a_file_that_was_read_may_be_changed_in_place(
    tiny_file: Path, tmp_path: Path, what: str
) -> None:
    """A mapped one may not: so only files whose weights are used as they lie are mapped."""
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_file.read_bytes())
    with Weights(path, mmap=False) as loaded:
        model = LlamaModel(loaded, n_ctx=64)
        wanted = model.eval([5]).copy()
        if what == "cut":
            os.truncate(path, 100)
        else:
            path.write_bytes(b"\xff" * path.stat().st_size)
        model.rewind(1)
        assert_near(model.eval([5]), wanted)
