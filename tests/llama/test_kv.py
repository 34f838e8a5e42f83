"""KV cache types: what they take of memory, what they answer, and which models can have them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

import edgeproxy
from edgeproxy.errors import UsageError
from edgeproxy.llama import KvType, LlamaModel, Weights
from tests.helpers.gguf_files import ARCHITECTURES, draft

HELD = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")


def weights_of(folder: Path, architecture: str = "llama", width: int = 128) -> Weights:
    """A random model of four heads."""
    return Weights(draft(architecture, width=width).write(folder / f"{architecture}.gguf"))


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_cache_is_as_large_as_llama_cpp_says(
    architecture: str, kv_type: KvType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    n_ctx = 20_000  # not a multiple of what llama.cpp pads it to
    with weights_of(tmp_path, architecture) as weights:
        with caplog.at_level(logging.INFO, "edgeproxy.llama"):
            model = LlamaModel(weights, n_ctx=n_ctx, kv_type=kv_type)
        # One line for each kind of layer: some architectures have two.
        told = sum(float(size) for size in HELD.findall(caplog.text)) * 2**20
        assert told > 0
        assert model.kv_bytes == weights.kv_bytes == pytest.approx(told, rel=0.01)
        model.close()


def test_q8_0_takes_about_half(tmp_path: Path) -> None:
    with weights_of(tmp_path) as weights:
        f16, q8_0 = (LlamaModel(weights, kv_type=kind).kv_bytes for kind in ("f16", "q8_0"))
    assert q8_0 / f16 == pytest.approx(34 / 64)


def test_q8_0_says_nearly_the_same(tmp_path: Path) -> None:
    tokens = [int(token) for token in np.random.default_rng(0).integers(3, 260, 200)]
    with weights_of(tmp_path) as weights:
        exact = LlamaModel(weights).eval(tokens).copy()
        rounded = LlamaModel(weights, kv_type="q8_0").eval(tokens)
        assert not np.array_equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, atol=exact.std() / 10)


def test_heads_that_do_not_fit_are_told_to_use_f16(tmp_path: Path) -> None:
    with weights_of(tmp_path, width=192) as weights:
        with pytest.raises(UsageError, match=r"llama\.gguf: its heads are 48 numbers.*; use f16"):
            LlamaModel(weights, kv_type="q8_0")
        assert LlamaModel(weights, kv_type="f16").eval([5]).shape == (1, 268)


def test_an_unknown_type_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="must be one of f16, q8_0, not 'q4_0'"):
        edgeproxy.load("factbook", kv_type="q4_0", progress=pytest.fail)  # type: ignore[arg-type]


@pytest.mark.weights
@pytest.mark.parametrize("trio", ["factbook", "factbook-phi"])
def test_the_shipped_trios_answer_with_q8_0(trio: str) -> None:
    with edgeproxy.load(trio, kv_type="q8_0") as session:
        said = "".join(piece.text for piece in session.chat("What is the capital of France?"))
        assert said == "The capital of France is Paris."
        with edgeproxy.load(trio) as other:
            assert session.memory.weights == other.memory.weights
            assert session.memory.kv / other.memory.kv == pytest.approx(34 / 64)
