"""A pair whose tokens have other ids, or more of them, says the same; and files rewritten so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgeproxy.core.vocab import Kind
from edgeproxy.gguf import read
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.measure.evaluate import read_questions
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe
from tests.helpers.gguf_files import ARCHITECTURES, draft, sentencepiece_vocabulary
from tests.helpers.near import NEAR_QUANTISED, assert_near, assert_same_reply, rows_of
from tools.models.regguf import PADDING, padded, renumber, renumber_pair, replies, shuffled

EVERY = 27
"""Of the 525 questions, which stand sorted by kind: 20 of them."""

N = 4096
ORDERS = {
    "permuted": ([shuffled(N, 1)] * 2, "permuted"),
    "permuted two ways, padding among it": ([shuffled(N, 2, 5), shuffled(N, 3, 77)], "permuted"),
    "padded": ([padded(N, 64)] * 2, "padded"),
    "padded two ways": ([padded(N, 3), padded(N, 100)], "padded"),
}


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[str]:
    asked = read_questions(factbook.parent / "questions.jsonl")[::EVERY]
    return [question.text for question in asked]


Said = list[list[int | None]]


@pytest.fixture(scope="module")
def said(factbook_recipe: Recipe, questions: list[str]) -> Said:
    """What the trio that ships says."""
    return list(replies(factbook_recipe, questions))


def check_same(session: Session, found: Said, questions: list[str], said: Said) -> None:
    """`found` is `said`, bar near ties of `session`, the trio that ships."""
    for question, *pair in zip(questions, found, said, strict=True):
        one, other = ([token for token in reply if token is not None] for reply in pair)
        assert_same_reply(one, other, rows_of(session, question), NEAR_QUANTISED)


@pytest.mark.weights
@pytest.mark.parametrize(("orders", "case"), ORDERS.values(), ids=ORDERS)
def test_other_ids_for_the_pairs_tokens_change_nothing(
    session: Session,
    factbook_recipe: Recipe,
    tmp_path: Path,
    questions: list[str],
    said: Said,
    orders: Sequence[Sequence[int]],
    case: str,
) -> None:
    recipe = renumber_pair(factbook_recipe, tmp_path, orders)
    with load(recipe, strict=True) as other:
        assert {found.case for found in other.matches.values()} == {case}
        assert {found.shared for found in other.matches.values()} == {N}
        assert other.cost is None
    check_same(session, list(replies(recipe, questions)), questions, said)


@pytest.mark.weights
def test_padding_of_the_base_changes_nothing(
    session: Session, factbook_recipe: Recipe, tmp_path: Path, questions: list[str], said: Said
) -> None:
    base = factbook_recipe.base
    longer = replace(base, path=renumber(base.path, tmp_path / "base.gguf", padded(N, 64)))
    found = list(replies(replace(factbook_recipe, base=longer), questions))
    check_same(session, found, questions, said)


# The files


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_renumbered_model_is_the_same_model(architecture: str, tmp_path: Path) -> None:
    plain = draft(architecture).write(tmp_path / "plain.gguf")
    n = len(read(plain).metadata["tokenizer.ggml.tokens"])
    order = shuffled(n, 3, padding=4)
    other = renumber(plain, tmp_path / "other.gguf", order)
    places = [order.index(token) for token in range(n)]
    with Weights(plain) as before, Weights(other) as after:
        assert after.vocab.encode("then and") == [
            places[t] for t in before.vocab.encode("then and")
        ]
        ends = {places[token] for token in before.vocab.end_of_generation}
        assert after.vocab.end_of_generation == ends
        ids = before.vocab.encode("the end")
        rows = LlamaModel(before, n_ctx=64).eval(ids)
        other_rows = LlamaModel(after, n_ctx=64).eval([places[token] for token in ids])
    assert_near(other_rows[:, places], rows)


def test_a_renumbered_vocabulary_keeps_scores_and_kinds(tmp_path: Path) -> None:
    made = draft("llama")
    made.metadata = {
        **{k: v for k, v in made.metadata.items() if not k.startswith("tokenizer")},
        **sentencepiece_vocabulary(),
        "llama.vocab_size": 268,
    }
    plain = made.write(tmp_path / "plain.gguf")
    order = [PADDING, *shuffled(268, 1)]
    before = read(plain).metadata
    after = read(renumber(plain, tmp_path / "other.gguf", order)).metadata
    assert set(before) == set(after)
    for key in ("tokens", "scores", "token_type"):
        name = f"tokenizer.ggml.{key}"
        assert after[name][1:] == tuple(before[name][old] for old in order[1:])
    assert after["tokenizer.ggml.token_type"][0] == Kind.UNUSED
    assert order[after["tokenizer.ggml.bos_token_id"]] == before["tokenizer.ggml.bos_token_id"]
    assert after["llama.vocab_size"] == 269
    others = set(before) - {"llama.vocab_size", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"}
    kept = {k for k in others if not k.endswith("_token_id") and k != "tokenizer.ggml.token_type"}
    assert all(before[key] == after[key] for key in kept)


def test_the_same_order_writes_the_same_file(tmp_path: Path) -> None:
    plain = draft("phi2").write(tmp_path / "plain.gguf")
    other = renumber(plain, tmp_path / "other.gguf", padded(268, 0))
    assert other.read_bytes() == plain.read_bytes()
