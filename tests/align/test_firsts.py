"""First tokens of many words at once are those that each word has alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeproxy.align import firsts as module
from edgeproxy.align.firsts import BETWEEN, firsts
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.vocab import Vocab
from edgeproxy.llama.tokenizer import MAX_BYTES
from tests.helpers.tokenizing import LARGE, PIECES, SMALL, bpe_vocab, unigram_vocab

SPACED = ["", " ", "  a", "\t", "\tthe", " \n", "a\n", "\na", "a\nb", "the ", "\u3000"]
WORDS = [
    *(word.encode() for word in (*SPACED, "é", "日本", "x", " x")),
    *(b"\xff", b"a\xff", b"\xe6\x97", b"the\xc3"),
    *(text for vocab in (LARGE, SMALL, PIECES) for text in vocab.texts),
]


def ignore(count: int) -> None:
    assert count >= 0


def alone(vocab: Vocab, words: list[bytes]) -> list[int]:
    spelling = Spelling(vocab)
    return [spelling.first(word) for word in words]


FAMILIES = {
    "bpe": SMALL,
    "unigram": PIECES,
    "without bytes": unigram_vocab({"ab": -1.0, "b": -2.0}, with_bytes=False),
    # Tokens that reach over the text between two words.
    "crossing": bpe_vocab("\nx", "\nx\n", "e\n", "he\n", "\nx\nt", "th", "the", "x\n", "x\nt"),
}


@pytest.mark.parametrize("vocab", FAMILIES.values(), ids=FAMILIES)
def test_first_tokens_are_those_of_each_word_alone(vocab: Vocab) -> None:
    assert firsts(vocab, WORDS, ignore).tolist() == alone(vocab, WORDS)


def test_most_words_are_asked_about_in_few_calls() -> None:
    asked: list[str] = []

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        asked.append(text)
        return SMALL.tokenize(text, first, special)

    words = [b" word%d" % n for n in range(3000)]
    found = firsts(replace(SMALL, tokenize=tokenize), words, ignore)
    assert found.tolist() == alone(SMALL, words)
    assert len(asked) == 2
    assert all(text.startswith(BETWEEN) for text in asked)


def test_a_tokenizer_that_changes_text_is_asked_about_each_word() -> None:
    def lower(text: str, first: bool, special: bool) -> list[int]:
        return SMALL.tokenize(text.lower(), first, special)

    vocab = replace(SMALL, tokenize=lower)
    words = [b"The", b"the", b" AND", b" is"]
    assert firsts(vocab, words, ignore).tolist() == alone(vocab, words)


def test_no_text_is_longer_than_a_tokenizer_takes() -> None:
    longest = 0

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        nonlocal longest
        longest = max(longest, len(text.encode()))
        return SMALL.tokenize(text, first, special)

    words = [b" %d" % n + b"y" * 95 for n in range(2000)] + [b"z" * 2000] * 3
    firsts(replace(SMALL, tokenize=tokenize), words, ignore)
    assert 200_000 < longest <= MAX_BYTES


def test_the_steps_add_up_to_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_JOINED", 50)
    monkeypatch.setattr(module, "MAX_ALONE", 5)
    counts: list[int] = []
    found = firsts(SMALL, WORDS, counts.append)
    assert found.tolist() == alone(SMALL, WORDS)
    assert sum(counts) == len(WORDS)
    assert len(counts) > 10


def test_what_a_step_raises_ends_the_work() -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        firsts(SMALL, WORDS, stop)


def test_no_words_are_no_work() -> None:
    assert firsts(SMALL, [], ignore).shape == (0,)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gpt-2", "qwen2"),
        ("llama-bpe", "starcoder"),
        ("llama-spm", "qwen2"),
        ("phi-3", "gpt-2"),
        ("qwen2", "llama-spm"),
        ("starcoder", "llama-bpe"),
    ],
)
def test_real_tokenizers_give_the_same_as_for_each_word_alone(
    tokenizers: dict[str, Vocab], name: str, other: str
) -> None:
    """For a sample of the words that the `other` vocabulary has and this one has not."""
    vocab = tokenizers[name]
    words = sorted(set(tokenizers[other].texts) - set(vocab.texts))
    sample = words[:: max(1, len(words) // 1500)]
    assert len(sample) > 1000
    assert firsts(vocab, sample, ignore).tolist() == alone(vocab, sample)
