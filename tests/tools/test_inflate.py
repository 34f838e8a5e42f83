"""A grown model computes the same logits, and a grown trio is one that loads and answers alike."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Kind
from edgeproxy.gguf import read
from edgeproxy.llama import LlamaModel, Weights, quantize
from edgeproxy.session.load import load
from edgeproxy.trios.find import Recipe, read_recipe
from tests.helpers.gguf_files import draft
from tools.models import inflate
from tools.models.grow import Shape, floats, grow, shape_of

TEXT = "The capital of Guam is Hagatna. Its economy depends on tourism and"
N = 4096

WIDER = Shape(layers=7, width=512, ffn=1024, heads=8, kv_heads=4, head=64)
SHAPES = {
    "deeper": Shape(layers=7, width=256, ffn=768, heads=4, kv_heads=4, head=64),
    "wider": WIDER,
    "more key heads": Shape(layers=5, width=512, ffn=768, heads=16, kv_heads=8, head=64),
    "larger heads": Shape(layers=5, width=512, ffn=768, heads=4, kv_heads=4, head=128),
}


def logits(path: Path, text: str = TEXT) -> Logits:
    with Weights(path) as weights, closing(LlamaModel(weights, n_ctx=64)) as model:
        ids = weights.vocab.encode(text)[:32]
        rows: Logits = model.eval(ids, rows=len(ids)).copy()
        return rows


@pytest.fixture(scope="module")
def small(factbook_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped base in F32."""
    source = factbook_recipe.base.path
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    return grow(source, path, shape_of(read(source)), N, kind="F32")


@pytest.fixture(scope="module")
def grown(factbook_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The shipped trio, larger and with more tokens."""
    folder = tmp_path_factory.mktemp("grown")
    pair = Shape(layers=5, width=512, ffn=512, heads=8, kv_heads=4, head=64)
    found = inflate.inflate(factbook_recipe, folder, WIDER, pair, n_tokens=N + 904, kind="Q8_0")
    assert found.keys() == factbook_recipe.roles.keys()
    for one in found.values():
        assert one.difference < 0.05
        assert min(one.same_best, one.same_best_as_source) > 0.8
        assert one.padding is not None
        assert one.padding.high < one.real.low
    return read_recipe(folder)


@pytest.mark.weights
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_grown_model_computes_the_same_logits(small: Path, tmp_path: Path, shape: Shape) -> None:
    large = grow(small, tmp_path / "large.gguf", shape, N, kind="F32")
    assert shape_of(read(large)) == shape
    with Weights(large) as weights:
        assert weights.n_params == shape.parameters(N)
    np.testing.assert_allclose(logits(large), logits(small), atol=0.03)


@pytest.mark.weights
def test_new_tokens_stay_below_the_others(small: Path, tmp_path: Path) -> None:
    large = grow(small, tmp_path / "large.gguf", WIDER, N + 904, kind="F32", far_below=1e6)
    kinds = read(large).metadata["tokenizer.ggml.token_type"]
    assert set(kinds[N:]) == {Kind.UNUSED}
    rows = logits(large)
    # All logits of a row may be higher by a constant.
    error = rows[:, :N] - logits(small)
    assert np.ptp(error, axis=1).max() < 0.03
    assert np.abs(error).max() < 1.0
    assert rows[:, N:].max() < rows[:, :N].min() - 1000


@pytest.mark.weights
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantised_the_old_weights_are_the_small_models_and_the_new_ones_zero(
    small: Path, tmp_path: Path, kind: str
) -> None:
    large = grow(small, tmp_path / "large.gguf", WIDER, N, kind="F32")
    found = {}
    for path in (small, large):
        quantize(path, tmp_path / kind, kind)
        found[path] = matrix(tmp_path / kind, "blk.0.ffn_down.weight")
    np.testing.assert_array_equal(found[large][:256, :768], found[small])
    assert not found[large][256:].any()
    assert not found[large][:, 768:].any()


def matrix(path: Path, name: str) -> Logits:
    """A quantised matrix's values; `floats` knows no Q4_0."""
    header = read(path)
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    if tensor.type.name != "q4_0":
        return floats(header, tensor)
    content = path.read_bytes()[header.data_offset + tensor.offset :][: tensor.size]
    blocks = np.frombuffer(content, [("scale", "<f2"), ("nibbles", "u1", 16)])
    numbers = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
    values = (numbers.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(tensor.shape[::-1])


@pytest.mark.weights
def test_a_grown_trio_says_the_same(factbook_recipe: Recipe, grown: Recipe) -> None:
    said = []
    for recipe in (factbook_recipe, grown):
        with load(recipe, strict=True) as session:
            assert {found.case for found in session.matches.values()} == {"same"}
            reply = session.chat("What is the capital of Guam?", max_tokens=12)
            said.append("".join(piece.text for piece in reply))
    assert said[0] == said[1]
    assert grown.steering == factbook_recipe.steering
    for role, new in grown.roles.items():
        assert new.prompt == factbook_recipe.roles[role].prompt
        assert new.size == new.path.stat().st_size


def test_grouped_heads_untied_outputs_and_rotary_factors_grow_too(tmp_path: Path) -> None:
    made = draft("llama", width=64)
    made.metadata["llama.attention.layer_norm_rms_epsilon"] = 0.05  # enough to be seen
    plain = made.write(tmp_path / "plain.gguf")
    assert {"output.weight", "rope_freqs.weight"} <= {t.name for t in read(plain).tensors}
    n = len(read(plain).metadata["tokenizer.ggml.tokens"])
    shape = Shape(layers=3, width=320, ffn=160, heads=12, kv_heads=4, head=32)
    large = grow(plain, tmp_path / "large.gguf", shape, n + 20, kind="F32")
    text = "the end and then the end"
    np.testing.assert_allclose(logits(large, text)[:, :n], logits(plain, text), atol=0.01)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layers": 1}, "cannot hold"),
        ({"width": 16}, "cannot hold"),
        ({"kv_heads": 4}, "serves fewer queries"),
        ({"head": 12}, "times n"),
        ({"width": 72}, "sizes of 32n"),
    ],
)
def test_a_shape_that_cannot_hold_the_model_is_refused(
    tmp_path: Path, changes: dict[str, int], complaint: str
) -> None:
    plain = draft("llama").write(tmp_path / "plain.gguf")
    shape = shape_of(read(plain))._replace(**changes)
    with pytest.raises(ValueError, match=complaint):
        grow(plain, tmp_path / "large.gguf", shape, 268)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    plain = draft("phi2").write(tmp_path / "plain.gguf")
    with pytest.raises(ValueError, match="only llama"):
        grow(plain, tmp_path / "large.gguf", WIDER, 268)


@pytest.mark.weights
def test_the_values_of_q8_0_are_those_of_llama(factbook_recipe: Recipe, small: Path) -> None:
    packed, plain = read(factbook_recipe.base.path), read(small)
    of_packed, of_plain = (
        {tensor.name: floats(header, tensor) for tensor in header.tensors}
        for header in (packed, plain)
    )
    assert {t.type.name for t in packed.tensors} == {"f32", "q8_0"}
    for name, values in of_packed.items():
        np.testing.assert_array_equal(values, of_plain[name])


def test_sizes_are_presets_or_six_numbers() -> None:
    assert inflate.parse_shape("7x512x1024x8x4x64") == WIDER
    millions = {name: inflate.parse_shape(name).parameters(32_000) / 1e6 for name in inflate.SHAPES}
    assert millions == pytest.approx(
        {"135M": 138, "360M": 350, "1.1B": 1035, "3B": 2920, "8B": 7110}, rel=0.01
    )
    with pytest.raises(ValueError, match=r"none of 135M, .* six numbers"):
        inflate.parse_shape("2x3")


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    factbook_recipe: Recipe, tmp_path: Path
) -> None:
    huge = Shape(layers=500, width=1 << 17, ffn=1 << 19, heads=1 << 11, kv_heads=4, head=64)
    with pytest.raises(ValueError, match="GB is needed"):
        inflate.inflate(factbook_recipe, tmp_path, huge, huge)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["inflate", "factbook", str(tmp_path), "--base-size", "9"])
    assert inflate.main() == 2
    assert "'9' is none of 135M" in capsys.readouterr().err
