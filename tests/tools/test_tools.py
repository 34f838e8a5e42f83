"""The tools: a random trio answers, the measuring ones measure."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgeproxy.errors import EdgeproxyError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.session.load import load
from edgeproxy.trios.find import Recipe, read_recipe
from tools.measure import overhead, startup
from tools.models.random_trio import SHAPES, make_vocabulary, tensors_of, write_trio


@pytest.fixture(scope="module")
def random_trio(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("random")
    write_trio(folder, SHAPES["tiny"], SHAPES["tiny"], 600, seed=0)
    return read_recipe(folder)


def test_a_random_trio_is_what_its_manifest_says(random_trio: Recipe) -> None:
    for role in random_trio.roles.values():
        content = role.path.read_bytes()
        assert role.size == len(content)
        assert role.sha256 == hashlib.sha256(content).hexdigest()
    assert len({role.sha256 for role in random_trio.roles.values()}) == 3


def test_a_random_model_has_finite_logits_of_a_trained_ones_spread(random_trio: Recipe) -> None:
    with Weights(random_trio.base.path) as weights:
        model = LlamaModel(weights, n_ctx=128)
        rows = model.eval(list(range(300, 332)), rows=32)
        assert np.isfinite(rows).all()
        assert 1.0 < rows.std() < 10.0


@pytest.mark.parametrize("text", ["the quick brown fox", " 12 jumps,\nover\tit", "ünïcödé 語 🦊"])
def test_a_random_trios_vocabulary_spells_any_text(random_trio: Recipe, text: str) -> None:
    with Weights(random_trio.base.path) as weights:
        ids = weights.vocab.encode(text, first=True)
        assert b"".join(map(weights.vocab.piece, ids)).decode() == text
        if text.isascii() and text.islower():
            assert len(ids) < len(text)


def test_a_random_trio_answers(random_trio: Recipe) -> None:
    with load(random_trio) as session:
        pieces = list(session.chat("Hello", max_tokens=4))
    assert pieces[-1].finish_reason in ("length", "stop")


@pytest.mark.parametrize("size", [300, 32_000, 151_936])
def test_every_merge_makes_a_token_of_two_earlier_ones(size: int) -> None:
    vocabulary = make_vocabulary(size)
    assert len(vocabulary.tokens) == len(set(vocabulary.tokens)) == size
    places = {token: place for place, token in enumerate(vocabulary.tokens)}
    for merge in vocabulary.merges:
        left, right = merge.split(" ")
        assert max(places[left], places[right]) < places[left + right]


def test_a_vocabulary_below_its_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 300"):
        make_vocabulary(299)


@pytest.mark.parametrize(("name", "millions"), [("135m", 125), ("1b", 1100)])
def test_the_shapes_have_the_parameters_of_their_names(name: str, millions: int) -> None:
    count = sum(int(np.prod(tensor.shape)) for tensor in tensors_of(SHAPES[name], 32_000))
    assert round(count / 1e6) == pytest.approx(millions, rel=0.01)


def test_the_overhead_is_measured_for_every_case(random_trio: Recipe) -> None:
    results = overhead.measure(str(random_trio.base.path.parent), tokens=2, repeats=1)
    assert [result.case for result in results] == [case.name for case in overhead.CASES]
    for result in results:
        assert result.trio > 0
        assert result.ratio == pytest.approx(result.trio / result.bare)


def test_the_parts_of_a_start_add_up(random_trio: Recipe) -> None:
    parts = startup.parts(str(random_trio.base.path.parent), "Hello")
    total = parts.pop("total")
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(total)


def test_the_first_byte_of_a_command_is_timed() -> None:
    assert startup.seconds_to_first_byte("--version") > 0


def test_a_failing_command_is_not_timed() -> None:
    with pytest.raises(EdgeproxyError, match="no trio called"):
        startup.seconds_to_first_byte("run", "Hello", "--trio", "there-is-none")
