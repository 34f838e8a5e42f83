"""The nasty texts are what they say, and the spellings spell."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.vocab import Kind, Vocab
from tests.helpers.fakes import END, fake_vocab, word_vocab
from tests.helpers.nasty import LONG, NASTY, spellings, text_tokens

SENTENCEPIECE = ("llama-spm", "phi-3")


def joined(vocab: Vocab, tokens: list[int]) -> bytes:
    return b"".join(vocab.tokens[token] for token in tokens)


def test_there_are_many_and_all_are_different_valid_unicode() -> None:
    assert len(NASTY) >= 45
    assert len(set(NASTY.values())) == len(NASTY)
    assert all(text and len(text.encode()) <= 20_000 for text in NASTY.values())
    assert len(LONG) == 6


def test_composed_and_decomposed_texts_are_both_there() -> None:
    pairs = (("accents composed", "accents decomposed"), ("hangul composed", "hangul jamo"))
    for composed, decomposed in pairs:
        assert unicodedata.is_normalized("NFC", NASTY[composed])
        assert not unicodedata.is_normalized("NFC", NASTY[decomposed])


def test_real_tokenizers_keep_every_byte_of_them(tokenizers: dict[str, Vocab]) -> None:
    for model, vocab in tokenizers.items():
        for name, text in NASTY.items():
            # SentencePiece cannot tell its own mark for a space from a space.
            kept = text.replace("\u2581", " ") if model in SENTENCEPIECE else text
            assert joined(vocab, vocab.encode(text)) == kept.encode(), (model, name)


@pytest.mark.slow
def test_spellings_spell_them_in_real_vocabularies(tokenizers: dict[str, Vocab]) -> None:
    source = random.Random(0)
    short = [name for name in NASTY if name not in LONG]
    for model, vocab in tokenizers.items():
        unlike = halves = 0
        for name in short:
            data = NASTY[name].encode()
            for as_bytes in (False, True):
                tokens = spellings(vocab, data, source, as_bytes=as_bytes)
                assert joined(vocab, tokens) == data, (model, name)
                assert all(vocab.piece(token) for token in tokens), (model, name)
            assert len(tokens) == len(data)
            tokens = spellings(vocab, data, source)
            unlike += tokens != vocab.encode(NASTY[name])
            halves += any(vocab.tokens[token][0] & 0xC0 == 0x80 for token in tokens)
        assert unlike >= 0.75 * len(short), model
        assert halves >= 25, model


@given(st.binary(max_size=60), st.integers(0, 10))
def test_any_bytes_can_be_spelled_in_a_vocabulary_that_has_all(data: bytes, seed: int) -> None:
    vocab = fake_vocab()
    assert joined(vocab, spellings(vocab, data, random.Random(seed))) == data


def test_every_way_to_cut_is_drawn() -> None:
    vocab = word_vocab("a", "b", "ab", "ba", "aba", "ab")
    drawn = {
        tuple(spellings(vocab, b"aba", random.Random(seed), as_bytes=False)) for seed in range(200)
    }
    assert drawn == {(0, 1, 0), (0, 3), (2, 0), (5, 0), (4,)}
    assert spellings(vocab, b"aba", random.Random(0), as_bytes=True) == [0, 1, 0]


def test_only_text_is_drawn() -> None:
    kinds = (Kind.NORMAL, Kind.CONTROL, Kind.UNUSED, Kind.UNKNOWN, Kind.USER_DEFINED, Kind.BYTE)
    vocab = Vocab((b"x",) * 6, kinds, end_of_generation=frozenset((5,)))
    assert text_tokens(vocab) == {b"x": (0, 4)}
    assert {spellings(vocab, b"x", random.Random(seed))[0] for seed in range(50)} == {0, 4}
    assert text_tokens(fake_vocab()).keys() == {bytes([n]) for n in range(256)}
    assert b"<|end|>" not in text_tokens(fake_vocab())
    assert END in fake_vocab().end_of_generation


def test_a_byte_that_has_no_token_is_an_error() -> None:
    with pytest.raises(ValueError, match="no token for byte 0x63 alone"):
        spellings(word_vocab("a", "b", "bc"), b"abc", random.Random(0))
