"""Vectors of texts: encoders and models that write, batches, what is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, EdgeproxyError, EngineError, ModelFileError, UsageError
from edgeproxy.gguf import read
from edgeproxy.llama import Embedder, LlamaModel, Weights
from tests.helpers.embedding_files import CONTEXT, DIMENSIONS, encoder, write_encoder
from tests.helpers.gguf_files import Draft, draft
from tests.helpers.small_models import random_weights

TEXTS = [
    "the heron",
    "herons and the money of the capital, of herons",
    "",
    "notice period",
    "Ünïcode 漢字 \0 ?",
    "\ud800",
    *(f"heron {n}" for n in range(70)),
]
CLOSE = 1e-3


def decoder(architecture: str) -> Draft:
    made = draft(architecture)
    random_weights(made)
    return made


MODELS = {
    "bert": encoder,
    "nomic-bert": lambda: encoder("nomic-bert"),
    **{name: lambda name=name: decoder(name) for name in ("llama", "qwen2", "qwen3", "gemma3")},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", MODELS)
def test_texts_together_have_the_vectors_of_each_alone(name: str, tmp_path: Path) -> None:
    path = MODELS[name]().write(tmp_path / "model.gguf")
    with Embedder(path, n_threads=1) as embedder:
        assert embedder.dimensions == DIMENSIONS
        together = embedder.embed(TEXTS)
        assert together.shape == (len(TEXTS), DIMENSIONS)
        assert together.dtype == np.float32
        lengths = np.linalg.norm(together, axis=1)
        has_tokens = [bool(text) or "bert" in name for text in TEXTS]
        assert lengths == pytest.approx(np.array(has_tokens, float), abs=1e-5)
        alone = np.array([embedder(text) for text in TEXTS])
        assert np.abs(alone - together).max() < CLOSE
        assert np.abs(embedder.embed(TEXTS[::-1])[::-1] - together).max() < CLOSE
        # Not all texts are alike to it.
        assert np.abs(together[0] - together[3]).max() > 10 * CLOSE
        assert embedder.embed([]).shape == (0, DIMENSIONS)


def test_a_writing_models_vector_is_the_mean_unless_its_file_says_otherwise(tmp_path: Path) -> None:
    made = decoder("llama")
    del made.tensors["output.weight"]
    vectors = {}
    for pooling in (None, 0, 1, 3):
        if pooling is not None:
            made.metadata["llama.pooling_type"] = pooling
        with Embedder(made.write(tmp_path / f"{pooling}.gguf"), n_threads=1) as embedder:
            vectors[pooling] = embedder("the heron in the land")
    assert vectors[None] == pytest.approx(vectors[1], abs=CLOSE)
    assert vectors[0] == pytest.approx(vectors[1], abs=CLOSE)
    assert np.abs(vectors[3] - vectors[1]).max() > 10 * CLOSE


def test_the_first_token_is_what_its_file_says(tmp_path: Path) -> None:
    found = []
    for pooling in (1, 2):
        path = encoder(pooling=pooling).write(tmp_path / "model.gguf")
        with Embedder(path, n_threads=1) as embedder:
            found.append(embedder("the heron"))
    assert np.abs(found[0] - found[1]).max() > 10 * CLOSE


def test_of_a_long_text_the_beginning_counts_and_it_is_told(tmp_path: Path) -> None:
    with Embedder(write_encoder(tmp_path / "model.gguf"), n_threads=1) as embedder:
        assert embedder.longest == CONTEXT
        begin = "heron " * (CONTEXT - 2)
        whole = embedder.embed([begin, begin + "money " * 100, "heron " * 1_000_000])
        assert embedder.cut == 2
        assert np.abs(whole - whole[0]).max() < CLOSE
    with Embedder(tmp_path / "model.gguf", n_threads=1, longest=8) as embedder:
        assert embedder.longest == 8
        embedder("heron " * 7)
        assert embedder.cut == 1


@pytest.mark.parametrize("longest", [0, -1, True])
def test_impossible_lengths(longest: Any, tmp_path: Path) -> None:
    with pytest.raises(EdgeproxyError):
        Embedder(write_encoder(tmp_path / "model.gguf"), longest=longest)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a reranker": ({"bert.pooling_type": 4}, "reranker"),
    "unknown pooling": ({"bert.pooling_type": 9}, "pooling_type is 9"),
    "special tokens": ({"tokenizer.ggml.seperator_token_id": 9999}, "seperator_token_id"),
    "wide vectors": ({"bert.embedding_length_out": 64}, "wide"),
    "unknown tokenizer": ({"tokenizer.ggml.model": "t5"}, "'t5'"),
    "heads": ({"bert.attention.head_count": 3}, "heads"),
    "context": ({"bert.context_length": 128}, "position_embd"),
    "kinds of tokens": ({"tokenizer.ggml.token_type_count": 3}, "token_types"),
    "projector": ({"general.type": "mmproj"}, "not a model"),
    "adapter": ({"general.type": "adapter"}, "not a model"),
    "epsilon": ({"bert.attention.layer_norm_epsilon": -1.0}, "epsilon"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str, tmp_path: Path) -> None:
    change, said = REFUSED[name]
    made = encoder()
    made.metadata |= change
    with pytest.raises(ModelFileError, match=said):
        Embedder(made.write(tmp_path / "model.gguf"))


def test_a_small_vocabulary_without_bert_ids_is_refused(tmp_path: Path) -> None:
    made = encoder()
    del made.metadata["tokenizer.ggml.bos_token_id"]
    tokens = made.metadata["tokenizer.ggml.tokens"][100:]
    made.metadata["tokenizer.ggml.tokens"] = tokens
    made.metadata["tokenizer.ggml.token_type"] = [1] * len(tokens)
    made.tensors["token_embd.weight"] = ((DIMENSIONS, len(tokens)), 0)
    random_weights(made)
    with pytest.raises(ModelFileError, match="token_id"):
        Embedder(made.write(tmp_path / "model.gguf"))


def test_recurrent_models_are_refused(tmp_path: Path) -> None:
    made = draft("llama")
    made.metadata = {
        key.replace("llama.", "mamba."): value for key, value in made.metadata.items()
    } | {"general.architecture": "mamba"}
    with pytest.raises(ModelFileError, match="recurrent"):
        Embedder(made.write(tmp_path / "model.gguf"))


def test_an_embedding_model_still_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        read(write_encoder(tmp_path / "model.gguf"))
    made = draft("llama")
    made.metadata["llama.attention.causal"] = False
    with pytest.raises(ModelFileError, match="cannot write"):
        Weights(made.write(tmp_path / "causal.gguf"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_told_of(value: float, tmp_path: Path) -> None:
    made = encoder()
    name = "blk.1.layer_output_norm.weight"
    made.data[name] = struct.pack(f"<{DIMENSIONS}f", *[value] * DIMENSIONS)
    with Embedder(made.write(tmp_path / "model.gguf"), n_threads=1) as embedder:
        with pytest.raises(EngineError, match="damaged"):
            embedder("heron")
        with pytest.raises(EngineError, match="damaged"):
            embedder.embed(["a", "b"])


@pytest.mark.parametrize("data", [b"", b"GGUF", b"no model at all", b"\0" * 4096])
def test_what_is_no_gguf_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        Embedder(path)
    with pytest.raises(ModelFileError, match="no such file"):
        Embedder(tmp_path / "nowhere.gguf")
    with pytest.raises(ModelFileError, match="directory"):
        Embedder(tmp_path)


def test_a_cut_file(tmp_path: Path) -> None:
    data = encoder().bytes()
    path = tmp_path / "model.gguf"
    for length in range(0, len(data), len(data) // 12):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            Embedder(path)


def test_cancelling_ends_it_and_it_goes_on_after(tmp_path: Path) -> None:
    cancel = Flag()
    with Embedder(write_encoder(tmp_path / "model.gguf"), n_threads=1, cancel=cancel) as embedder:
        before = embedder("heron")
        cancel.set()
        with pytest.raises(Cancelled):
            embedder("heron")
        cancel.clear()
        assert embedder("heron") == pytest.approx(before, abs=CLOSE)
    cancel.set()
    with pytest.raises(Cancelled):
        Embedder(tmp_path / "model.gguf", cancel=cancel)


def test_one_that_is_closed_says_so(tmp_path: Path) -> None:
    embedder = Embedder(write_encoder(tmp_path / "model.gguf"), n_threads=1)
    embedder.close()
    embedder.close()
    with pytest.raises(EngineError, match="closed"):
        embedder("heron")


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    with Embedder(write_encoder(tmp_path / "model.gguf"), n_threads=1) as embedder:
        refused: list[BaseException] = []

        def use() -> None:
            try:
                embedder("heron")
            except EngineError as error:
                refused.append(error)

        with embedder._owner:
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        assert "another thread" in str(refused[0])


def test_a_writing_model_beside_it_is_not_disturbed(tmp_path: Path) -> None:
    path = decoder("llama").write(tmp_path / "model.gguf")
    with Embedder(path, n_threads=1) as embedder, Weights(path) as weights:
        model = LlamaModel(weights, n_ctx=64)
        before = model.eval([5, 6, 7]).copy()
        embedder("the heron")
        model.rewind(3)
        assert model.eval([5, 6, 7]) == pytest.approx(before, abs=CLOSE)


FORKED = """
import os, sys
from edgeproxy.errors import EngineError
from edgeproxy.llama import Embedder
embedder = Embedder(sys.argv[1], n_threads=1)
before = embedder("heron")
pid = os.fork()
if not pid:
    try:
        embedder("heron")
    except EngineError as error:
        embedder.close()
        own = Embedder(sys.argv[1], n_threads=1)
        os._exit(0 if "forked" in str(error) and abs(own("heron") - before).max() < 1e-3 else 3)
    os._exit(4)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert abs(embedder("heron") - before).max() < 1e-3
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "model.gguf")
    done = subprocess.run([sys.executable, "-c", FORKED, str(path)], timeout=120, check=False)
    assert done.returncode == 0


FLIPPED = """
import random, sys
from pathlib import Path
from edgeproxy.errors import EdgeproxyError
from edgeproxy.llama import Embedder
from tests.helpers.embedding_files import encoder
made = encoder()
length = len(made.header())
data, source, path = made.bytes(), random.Random(int(sys.argv[2])), Path(sys.argv[1])
loaded = 0
for _ in range(150):
    damaged = bytearray(data)
    for _ in range(source.choice([1, 1, 2, 8])):
        damaged[source.randrange(length)] = source.choice([0, 1, 255, source.randrange(256)])
    path.write_bytes(damaged)
    try:
        with Embedder(path, n_threads=1) as embedder:
            embedder.embed(["the heron", "x" * 500, "notice, period?"])
            loaded += 1
    except EdgeproxyError:
        pass
print(loaded)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_damaged_headers_kill_no_process(seed: int, tmp_path: Path) -> None:
    """Each in one child: llama.cpp would abort it."""
    done = subprocess.run(
        [sys.executable, "-c", FLIPPED, str(tmp_path / "model.gguf"), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0


def test_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="longest"):
        Embedder(write_encoder(tmp_path / "model.gguf"), longest="long")  # type: ignore[arg-type]
