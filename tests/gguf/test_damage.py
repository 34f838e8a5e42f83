"""Damaged model files: a clear error or finite numbers, never a crash and never a hang.

A seeded sample; the whole: `python -m tests.helpers.damage --count 1000 models/factbook/*.gguf`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.trios.find import Recipe
from tests.helpers.damage import Child, Original, examine
from tests.helpers.gguf_files import ARCHITECTURES, draft, sentencepiece_vocabulary


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small model with random weights of each architecture, and one with SentencePiece."""
    folder = tmp_path_factory.mktemp("models")
    paths = [draft(name).write(folder / f"{name}.gguf") for name in ARCHITECTURES]
    other = draft("llama")
    other.metadata |= sentencepiece_vocabulary()
    del other.metadata["tokenizer.ggml.merges"]
    return [*paths, other.write(folder / "sentencepiece.gguf")]


def test_undamaged_models_decode(small_models: list[Path]) -> None:
    child = Child()
    try:
        assert [child.ask(path) for path in small_models] == [("decoded", "")] * len(small_models)
    finally:
        child.close()


def test_damage_is_seeded(small_models: list[Path]) -> None:
    original = Original(small_models[0])
    copies = [original.damaged(seed) for seed in range(20)]
    assert copies == [original.damaged(seed) for seed in range(20)]
    assert all(data != original.data for _, data in copies)


def test_a_crash_is_noticed_and_named(small_models: list[Path]) -> None:
    child = Child()
    try:
        child.kill()
        outcome, detail = child.ask(small_models[0])
    finally:
        child.close()
    assert outcome == "fault"
    assert detail.startswith("died with status")


def test_damaged_small_models_do_no_harm(small_models: list[Path], tmp_path: Path) -> None:
    findings = examine(small_models, 100, tmp_path)
    assert findings.faults == []
    assert findings.refused.total() > 50
    assert findings.decoded.total() > 0


@pytest.mark.weights
def test_damaged_copies_of_the_shipped_models_do_no_harm(
    factbook_recipe: Recipe, tmp_path: Path
) -> None:
    roles = (factbook_recipe.base, factbook_recipe.expert, factbook_recipe.anti_expert)
    findings = examine([Path(role.path) for role in roles], 60, tmp_path)
    assert findings.faults == []
    assert findings.refused.total() > 20
