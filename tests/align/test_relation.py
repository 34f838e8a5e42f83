"""How two vocabularies are related, by their tokens' bytes and kinds alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeproxy.align import Match, doubts, match
from edgeproxy.align.relation import unspelled
from edgeproxy.core.vocab import Kind, Vocab
from tests.helpers.fakes import (
    END,
    TURN,
    changed,
    fake_vocab,
    shuffled,
    wide_vocab,
    without,
    word_vocab,
)

SHARED = len(fake_vocab())
FEW, MANY = (300, 2000), (300, 700, 2000)
"""Tokens of `wide_vocab` to leave out: as many as a permutation may lack, and one more."""


def test_the_same_tokens_are_the_same_vocabulary() -> None:
    found = match(fake_vocab(), fake_vocab())
    assert found == Match("same", SHARED)
    assert found.index.tolist() == list(range(SHARED))


@pytest.mark.parametrize("kind", [Kind.USER_DEFINED, Kind.UNKNOWN])
def test_how_a_special_token_is_special_does_not_matter(kind: Kind) -> None:
    assert match(fake_vocab(), changed(fake_vocab(), END, b"<|end|>", kind)).case == "same"


@pytest.mark.parametrize(
    ("token", "spelling", "kind"),
    [(100, b"other", Kind.NORMAL), (TURN, b"<|im_start|>", Kind.NORMAL)],
)
def test_another_spelling_or_role_is_another_vocabulary(
    token: int, spelling: bytes, kind: Kind
) -> None:
    assert match(fake_vocab(), changed(fake_vocab(), token, spelling, kind)).case == "different"


def test_metadata_has_no_say() -> None:
    other = replace(fake_vocab(), bos=None, end_of_generation=frozenset(), chat_template="x")
    assert match(fake_vocab(), other).case == "same"


def test_unused_is_not_text() -> None:
    assert match(word_vocab("a"), Vocab((b"a",), (Kind.UNUSED,))).case == "different"


@pytest.mark.parametrize(("base_extra", "pair_extra"), [(5, 0), (0, 5), (9, 2)])
def test_unused_tokens_at_the_end_are_padding(base_extra: int, pair_extra: int) -> None:
    found = match(fake_vocab(base_extra), fake_vocab(pair_extra))
    shared = SHARED + min(base_extra, pair_extra)
    assert found == Match("padded", shared)
    wanted = [*range(shared), *[-1] * (SHARED + base_extra - shared)]
    assert found.index.tolist() == wanted


def test_special_tokens_at_the_end_are_padding_too() -> None:
    full = fake_vocab()
    short = replace(full, tokens=full.tokens[:-2], kinds=full.kinds[:-2], bos=None)
    assert match(short, full) == match(full, short) == Match("padded", SHARED - 2)


@pytest.mark.parametrize(("base", "pair"), [(("a", "b"), ("a",)), (("a",), ("a", "b"))])
def test_text_that_only_one_of_them_has_is_no_padding(
    base: tuple[str, ...], pair: tuple[str, ...]
) -> None:
    assert match(word_vocab(*base), word_vocab(*pair)).case == "different"


@pytest.mark.parametrize("seed", range(3))
def test_other_ids_are_a_permutation(seed: int) -> None:
    other, places = shuffled(fake_vocab(), seed)
    found = match(fake_vocab(), other)
    assert found == Match("permuted", SHARED)
    assert np.array_equal(found.index, places)


def test_tokens_of_the_same_bytes_are_paired_in_order() -> None:
    found = match(word_vocab("b", "a", "a"), word_vocab("a", "b", "a"))
    assert found.case == "permuted"
    assert found.index.tolist() == [1, 0, 2]


def test_a_permutation_may_lack_a_few_tokens_on_either_side() -> None:
    full, (some, places) = wide_vocab(), shuffled(without(wide_vocab(), *FEW))
    found = match(full, some)
    assert found == Match("permuted", len(full) - len(FEW))
    assert np.flatnonzero(found.index < 0).tolist() == list(FEW)
    assert np.array_equal(found.index[found.index >= 0], np.delete(places, FEW))
    assert match(some, full) == Match("permuted", len(full) - len(FEW))


def test_a_vocabulary_that_lacks_more_is_different() -> None:
    full, (some, _) = wide_vocab(), shuffled(without(wide_vocab(), *MANY))
    texts = sum(map(bool, full.texts))
    assert match(full, some) == Match("different", texts - len(MANY))
    assert match(some, full) == Match("different", texts - len(MANY))


def test_padding_of_other_names_is_a_permutation_that_lacks_nothing_of_text() -> None:
    other = changed(fake_vocab(3), SHARED + 1, b"[PAD]", Kind.UNUSED)
    assert match(fake_vocab(3), other) == Match("permuted", SHARED)


def test_what_a_vocabulary_without_all_bytes_cannot_spell() -> None:
    base = fake_vocab()
    words = word_vocab("a", "bc", "c", "é")
    can = {*b"ac"}
    assert unspelled(base, words) == [byte for byte in range(256) if byte not in can]
    assert match(base, words) == Match("different", len(can), tuple(sorted(set(range(256)) - can)))
    assert match(words, base) == Match("different", len(can))


@pytest.mark.parametrize(
    ("word", "is_spelled"),
    [("ab", True), ("bcb", False), ("abcbc", True), ("é", True), ("è", False), ("x", False)],
)
def test_a_word_is_spelled_by_any_of_its_parts(word: str, is_spelled: bool) -> None:
    other = Vocab((*(b"a", b"bc", b"ab", b"cbc", b"\xc3", b"\xa9"), b"x"), (*[1] * 6, Kind.CONTROL))
    assert unspelled(word_vocab(word), other) == ([] if is_spelled else [0])


def test_doubts_tell_what_is_lost() -> None:
    base, full, some = fake_vocab(), wide_vocab(), word_vocab("a", "bc")
    assert doubts(base, (match(base, full), match(base, base))) == []
    (one,) = doubts(base, (match(base, full), match(base, some)))
    assert one.startswith("the anti-expert cannot spell 255 of the base's 256 tokens of text")
    endless = replace(base, end_of_generation=frozenset())
    found = doubts(endless, (match(base, some), match(base, some)))
    assert found[0].startswith("the pair cannot spell 255 of")  # once for both
    assert "no end-of-text token" in found[1]
    other = match(base, word_vocab("a", "b"))
    found = doubts(base, (match(base, some), other))
    assert [sentence.partition(" ca")[0] for sentence in found] == ["the expert", "the anti-expert"]
    assert doubts(endless, (match(base, base), match(base, fake_vocab(2)))) == []


PADDED = {("llama-spm", "phi-3"), ("phi-3", "llama-spm")}


@pytest.mark.slow
def test_of_the_real_vocabularies_llama_2_and_phi_3_share_their_tokens(
    real_vocabs: dict[str, Vocab],
) -> None:
    for name, base in real_vocabs.items():
        for other_name, other in real_vocabs.items():
            found = match(base, other)
            if name == other_name:
                assert found == Match("same", len(base))
            elif (name, other_name) in PADDED:
                assert found == Match("padded", 32_000)
            else:
                assert found.case == "different", (name, other_name)
                assert 18_000 < found.shared < len(base)


@pytest.mark.slow
def test_real_vocabularies_that_are_shuffled_are_permuted(real_vocabs: dict[str, Vocab]) -> None:
    for name, base in real_vocabs.items():
        other, places = shuffled(base)
        found = match(base, other)
        assert found.case == "permuted", name
        paired = found.index >= 0
        assert [other.tokens[n] for n in found.index[paired]] == [
            word for word, is_paired in zip(base.tokens, paired, strict=True) if is_paired
        ]
        used = np.array(base.kinds) != Kind.UNUSED
        assert np.array_equal(paired, used)
        # All but tokens that are there twice.
        assert (found.index[used] == places[used]).mean() > 0.999


def test_only_starcoder_lacks_bytes_one_of_which_utf_8_has(real_vocabs: dict[str, Vocab]) -> None:
    lost = {name: unspelled(fake_vocab(), other) for name, other in real_vocabs.items()}
    assert lost.pop("starcoder") == [0xC0, 0xC1, 0xF1, *range(0xF5, 0x100)]
    assert all(tokens == [] for tokens in lost.values())
