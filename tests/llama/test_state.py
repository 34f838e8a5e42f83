"""A context's state: taken out, put back, and the same numbers after it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.errors import EngineError, ModelFileError
from edgeproxy.gguf import fingerprint, read
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama.library import build, version
from edgeproxy.llama.state import Stateful
from tests.helpers.gguf_files import ARCHITECTURES, draft
from tests.helpers.near import assert_near

TEXT = [int(token) for token in np.random.default_rng(0).integers(3, 260, 300)]
MORE = TEXT[:20]


@pytest.fixture
def model(tiny: Weights) -> Iterator[LlamaModel]:
    made = LlamaModel(tiny, n_ctx=1024)
    made.eval(TEXT)
    yield made
    made.close()


@pytest.mark.parametrize("n_branches", [0, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_after_a_state_come_the_same_rows(
    tmp_path: Path, architecture: str, n_branches: int
) -> None:
    made = draft(architecture)
    made.metadata[f"{architecture}.context_length"] = 512
    with Weights(made.write(tmp_path / "model.gguf")) as weights:
        first, second = (LlamaModel(weights, n_branches=n_branches) for _ in range(2))

        first.eval(TEXT)
        if n_branches:
            alone = bytes(first.state())
            first.branch([], [(290, [5, 6, 7]), (300, [8])])
            assert bytes(first.state()) == alone
            second.eval(TEXT[:50])
            second.branch([1], [(40, [5, 6])])
        before = second.evaluated
        second.adopt(TEXT, first.state())
        assert (second.n_past, second.evaluated) == (300, before)
        assert_near(second.eval(MORE, 5), first.eval(MORE, 5))
        if n_branches:
            paths = [(320, [9, 8]), (100, [7])]
            for one, other in zip(first.branch([3], paths), second.branch([3], paths), strict=True):
                assert_near(one, other)
        second.rewind(200)
        first.rewind(first.n_past - second.n_past)
        assert_near(second.eval(MORE), first.eval(MORE))


def test_a_state_is_a_copy(model: LlamaModel, tiny: Weights) -> None:
    size = model.state_size()
    state = model.state()
    assert len(state) == size
    kept = bytes(state)
    model.rewind(100)
    model.eval([9])
    assert bytes(state) == kept
    model.rewind(model.n_past)
    model.adopt(TEXT, memoryview(kept))
    assert bytes(model.state()) == kept


@pytest.mark.parametrize("kind", ["short", "long", "empty", "other length"])
def test_a_state_that_does_not_fit_leaves_nothing(model: LlamaModel, kind: str) -> None:
    state = bytes(model.state())
    states = {"short": state[:-100], "long": state + b"\0", "empty": b"", "other length": state}
    tokens = TEXT[:-1] if kind == "other length" else TEXT
    with pytest.raises(EngineError):
        model.adopt(tokens, memoryview(states[kind]))
    assert model.n_past == 0
    assert model.eval(TEXT).shape == (1, len(model.vocab))


@pytest.mark.parametrize("n", [0, 1025])
def test_an_impossible_number_of_tokens_changes_nothing(model: LlamaModel, n: int) -> None:
    with pytest.raises(EngineError, match="1 to 1024 are possible"):
        model.adopt([5] * n, model.state())
    assert model.n_past == 300


@pytest.mark.weights
@pytest.mark.parametrize("other", ["KV cache type", "context length"])
def test_another_context_does_not_take_it(base_weights: Weights, other: str) -> None:
    model = LlamaModel(base_weights, n_ctx=512)
    model.eval(TEXT)
    if other == "context length":
        another = LlamaModel(base_weights, n_ctx=256)
    else:
        another = LlamaModel(base_weights, n_ctx=512, kv_type="q8_0")
    with pytest.raises(EngineError):
        another.adopt(TEXT, model.state())
    assert another.n_past == 0
    theirs, ours = another.origin(), model.origin()
    assert [name for name in ours if ours[name] != theirs[name]] == [other]
    another.eval(MORE)


def test_the_origin_tells_what_must_be_the_same(model: LlamaModel, tiny: Weights) -> None:
    origin = model.origin()
    assert origin == LlamaModel(tiny, n_ctx=1024, n_threads=2).origin()
    assert origin["context length"] == "1024"
    assert origin["KV cache type"] == "f16"
    assert origin["model"] == f"llama {fingerprint(tiny.header)}"
    assert version() in build() in origin["llama.cpp"]


def test_a_closed_context_has_no_state(tiny: Weights) -> None:
    made = LlamaModel(tiny)
    made.eval([5])
    state = made.state()
    made.close()
    for attempt in (made.state, lambda: made.adopt([5], state)):
        with pytest.raises(EngineError, match="closed"):
            attempt()


def test_another_thread_has_to_wait(model: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with model._owner:
        caught: list[EngineError] = []

        def ask() -> None:
            try:
                model.state()
            except EngineError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "another thread" in str(caught[0])
    assert isinstance(model, Stateful)


# What a model file is told by


def test_a_fingerprint_tells_files_apart(tmp_path: Path) -> None:
    path = draft("llama").write(tmp_path / "model.gguf")
    first = fingerprint(read(path))
    assert first == fingerprint(read(path))
    data, status = path.read_bytes(), path.stat()
    for place in (4, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        other = tmp_path / f"{place}.gguf"
        other.write_bytes(data)
        header = read(other)
        other.write_bytes(changed)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        if place > 4:
            assert fingerprint(read(other)) != first
        with pytest.raises(ModelFileError, match="replaced or altered since it was loaded"):
            fingerprint(header)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprint(read(path)) != first


def test_a_file_that_is_gone_has_no_fingerprint(tmp_path: Path) -> None:
    path = draft("llama").write(tmp_path / "model.gguf")
    header = read(path)
    path.unlink()
    with pytest.raises(ModelFileError, match="no such file"):
        fingerprint(header)
