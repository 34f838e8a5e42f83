"""One model seen through another's vocabulary: the same, padded, or a clear error."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproxy.align import LACKING, align
from edgeproxy.errors import EngineError, VocabularyError
from edgeproxy.fuse import Offset, fuse
from edgeproxy.model import Model
from edgeproxy.vocab import Kind, Match, Vocab, match
from tests.fakes import (
    END,
    TURN,
    FakeModel,
    changed,
    fake_vocab,
    random_model,
    word_vocab,
)

SHARED = len(fake_vocab())


def aligned_one(model: Model, base: Vocab) -> Model:
    """`model` as the expert of a pair whose other half has the same vocabulary."""
    return align(model, random_model(9, vocab=model.vocab), base)[0][0]


def test_the_same_vocabulary_needs_no_wrapper() -> None:
    pair = random_model(1), random_model(2)
    assert align(*pair, fake_vocab()) == (pair, (Match("same", SHARED),) * 2)


@pytest.mark.parametrize(("base_extra", "pair_extra"), [(5, 0), (0, 5), (9, 2)])
def test_padding_on_either_side_is_bridged(base_extra: int, pair_extra: int) -> None:
    base = fake_vocab(base_extra)
    vocab = fake_vocab(pair_extra)
    (aligned, _), found = align(random_model(1, vocab=vocab), random_model(2, vocab=vocab), base)
    assert found == (Match("padded", SHARED + min(base_extra, pair_extra)),) * 2
    assert aligned.vocab is base
    assert aligned.eval([1, 2, 3], 2).shape == (2, len(base))


@pytest.mark.parametrize(("base_extra", "pair_extra"), [(5, 0), (0, 5)])
def test_padded_rows_are_log_probabilities_of_the_shared_tokens(
    base_extra: int, pair_extra: int
) -> None:
    pair_vocab = fake_vocab(pair_extra)
    aligned = aligned_one(random_model(1, vocab=pair_vocab), fake_vocab(base_extra))
    got = aligned.eval([1, 2, 3], 2)
    raw = random_model(1, vocab=pair_vocab).eval([1, 2, 3], 2)[:, :SHARED].astype(np.float64)
    wanted = raw - np.log(np.exp(raw).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(got[:, :SHARED], wanted, atol=1e-4)
    assert np.all(got[:, SHARED:] == LACKING)
    assert got.dtype == np.float32


def test_a_padded_model_keeps_the_invariants_of_a_model() -> None:
    inner = random_model(1, vocab=fake_vocab(3), n_ctx=10)
    aligned = aligned_one(inner, fake_vocab())
    first = aligned.eval([1, 2, 3]).copy()
    assert (aligned.n_past, aligned.n_ctx) == (3, 10)
    aligned.eval([4, 5], 2)
    aligned.rewind(3)
    assert aligned.n_past == inner.n_past == 2
    assert np.array_equal(aligned.eval([3]), first)


def test_rows_may_grow_and_shrink_between_evals() -> None:
    aligned = aligned_one(random_model(1, vocab=fake_vocab()), fake_vocab(2))
    together = aligned.eval([1, 2, 3], 3).copy()
    aligned.rewind(3)
    for n, token in enumerate([1, 2, 3]):
        assert np.array_equal(aligned.eval([token], 1)[0], together[n])


def test_the_offset_of_a_token_that_the_pair_lacks_is_zero() -> None:
    base = fake_vocab(4)
    (expert, anti), _ = align(random_model(1), random_model(2), base)
    base_row = random_model(3, vocab=base).eval([7]).copy()
    fused = fuse(base_row, [Offset(expert.eval([7]), anti.eval([7]), 1.7)])
    assert np.array_equal(fused[:, SHARED:], base_row[:, SHARED:])
    assert not np.array_equal(fused[:, :SHARED], base_row[:, :SHARED])


@pytest.mark.parametrize(("expert_extra", "anti_extra"), [(3, 0), (0, 3)])
def test_a_token_that_half_of_the_pair_lacks_is_kept_from_both(
    expert_extra: int, anti_extra: int
) -> None:
    vocabs = fake_vocab(expert_extra), fake_vocab(anti_extra)
    models = [random_model(n, vocab=vocab) for n, vocab in enumerate(vocabs)]
    (expert, anti), found = align(models[0], models[1], fake_vocab(3))
    assert sorted(match.case for match in found) == ["padded", "same"]
    difference = expert.eval([7]) - anti.eval([7])
    assert np.all(difference[:, SHARED:] == 0.0)
    assert np.all(np.abs(difference[:, :SHARED]) < 100.0)


def test_a_padding_token_is_never_given_to_a_model_that_lacks_it() -> None:
    inner = random_model(1)
    aligned = aligned_one(inner, fake_vocab(2))
    with pytest.raises(EngineError, match=f"token {SHARED} is padding"):
        aligned.eval([1, SHARED])
    assert inner.evals == []


def test_the_first_token_that_differs_is_named() -> None:
    other = changed(changed(fake_vocab(), 200, b"xy"), 100, b"other")
    with pytest.raises(VocabularyError) as error:
        align(FakeModel(vocab=fake_vocab()), FakeModel(vocab=other), fake_vocab())
    message = str(error.value)
    assert "token 100 is 'd' (BYTE) in the base and 'other' (NORMAL) in the anti-expert" in message
    assert "use models that share a tokenizer" in message


def test_a_special_token_and_ordinary_text_of_the_same_spelling_differ() -> None:
    other = changed(fake_vocab(), TURN, b"<|im_start|>", Kind.NORMAL)
    with pytest.raises(VocabularyError, match=f"token {TURN} .*CONTROL.*NORMAL"):
        match(fake_vocab(), other)


@pytest.mark.parametrize("kind", [Kind.USER_DEFINED, Kind.UNKNOWN])
def test_how_a_special_token_is_special_does_not_matter(kind: Kind) -> None:
    assert match(fake_vocab(), changed(fake_vocab(), END, b"<|end|>", kind)).case == "same"


def test_unused_is_not_text() -> None:
    with pytest.raises(VocabularyError, match="token 0"):
        match(word_vocab("a"), Vocab((b"a",), (Kind.UNUSED,)))


@pytest.mark.parametrize(("base", "pair"), [(("a", "b"), ("a",)), (("a",), ("a", "b"))])
def test_ordinary_text_that_only_one_of_them_has_is_an_error(
    base: tuple[str, ...], pair: tuple[str, ...]
) -> None:
    owner = "the base" if len(base) == 2 else "the expert"
    with pytest.raises(VocabularyError, match=f"token 1, 'b' .NORMAL., is only in {owner}"):
        match(word_vocab(*base), word_vocab(*pair))


PADDED = {("llama-spm", "phi-3"), ("phi-3", "llama-spm")}


def test_of_the_real_vocabularies_llama_2_and_phi_3_share_their_tokens(
    real_vocabs: dict[str, Vocab],
) -> None:
    for base in real_vocabs:
        for other in real_vocabs:
            if base == other:
                assert match(real_vocabs[base], real_vocabs[other]).case == "same"
            elif (base, other) in PADDED:
                found = match(real_vocabs[base], real_vocabs[other])
                assert found == Match("padded", 32_000)
            else:
                with pytest.raises(VocabularyError, match=r"token \d+ is "):
                    match(real_vocabs[base], real_vocabs[other])


def test_qwen2_and_llama_3_first_differ_where_their_merges_do(
    real_vocabs: dict[str, Vocab],
) -> None:
    with pytest.raises(VocabularyError, match=r"token 410 is '00' .* and 'ith' "):
        match(real_vocabs["llama-bpe"], real_vocabs["qwen2"])
