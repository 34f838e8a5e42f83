"""A pair over the base's vocabulary: what comes of it, what ends a reply, what prompts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.align import (
    LACKING,
    Aligned,
    MappedModel,
    ProjectedModel,
    align,
    match,
    own_rows,
    own_tokens,
)
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, VocabularyError
from tests.helpers.fakes import (
    BOS,
    END,
    TURN,
    TURN_END,
    FakeModel,
    Fault,
    fake_vocab,
    random_model,
    shuffled,
    wide_vocab,
    without,
    word_vocab,
)

WIDE = wide_vocab()
SHUFFLED, PLACES = shuffled(WIDE)


def pair_of(*vocabs: Vocab) -> tuple[FakeModel, FakeModel]:
    """An expert and an anti-expert; of one vocabulary where one is given."""
    return random_model(1, vocab=vocabs[0]), random_model(2, vocab=vocabs[-1])


def with_ends(vocab: Vocab, *ends: int) -> Vocab:
    return replace(vocab, end_of_generation=frozenset(ends))


def lengthened(words: int, *special: str) -> Vocab:
    """The bytes, special tokens, words and then further special tokens."""
    vocab = wide_vocab(words)
    return replace(
        vocab,
        tokens=(*vocab.tokens, *(text.encode() for text in special)),
        kinds=(*vocab.kinds, *[Kind.CONTROL] * len(special)),
    )


def respelled(vocab: Vocab) -> Vocab:
    """`vocab` with other words, and one of two bytes that no text holds."""
    tokens = [b"v" + word[1:] if word[:1] == b"w" and word[1:] else word for word in vocab.tokens]
    tokens[300] = b"\xff\xfe"
    return replace(vocab, tokens=tuple(tokens))


CASES = {
    "same": (WIDE, (WIDE,)),
    "padded base": (fake_vocab(7), (fake_vocab(),)),
    "padded pair": (fake_vocab(), (fake_vocab(7),)),
    "padded expert": (fake_vocab(3), (fake_vocab(3), fake_vocab())),
    "padded anti-expert": (fake_vocab(3), (fake_vocab(), fake_vocab(3))),
    "permuted": (WIDE, (SHUFFLED,)),
    "permuted two ways": (WIDE, (SHUFFLED, shuffled(WIDE, 7)[0])),
    "permuted, a few lacking": (WIDE, (shuffled(without(WIDE, TURN, 300))[0], SHUFFLED)),
    "permuted, an end lacking": (without(WIDE, TURN_END), (SHUFFLED,)),
    "different": (WIDE, (shuffled(respelled(WIDE))[0],)),
    "different, bytes lacking": (WIDE, (without(respelled(WIDE), 7, 200, TURN_END),)),
    "one of them different": (WIDE, (SHUFFLED, respelled(WIDE))),
}
"""The vocabularies of a base, and of a pair."""

every_case = pytest.mark.parametrize(("base", "vocabs"), CASES.values(), ids=CASES)


# What comes of it


def test_the_same_vocabulary_needs_no_wrapper() -> None:
    pair = pair_of(fake_vocab())
    aligned = align(*pair, fake_vocab())
    assert aligned == Aligned(*pair, fake_vocab().end_of_generation)


@every_case
def test_both_speak_the_bases_vocabulary(base: Vocab, vocabs: tuple[Vocab, ...]) -> None:
    aligned = align(*pair_of(*vocabs), base)
    cases = {match(base, vocab).case for vocab in vocabs}
    for model in (aligned.expert, aligned.anti_expert):
        assert len(model.vocab) == len(base)
        assert model.eval([65, 66], 2).shape == (2, len(base))
        if cases != {"same"}:
            kind = ProjectedModel if "different" in cases else MappedModel
            assert isinstance(model, kind)
    assert aligned.endings <= set(range(len(base)))


@every_case
def test_relations_that_are_known_already_are_taken(base: Vocab, vocabs: tuple[Vocab, ...]) -> None:
    relations = match(base, vocabs[0]), match(base, vocabs[-1])
    known, found = (align(*pair_of(*vocabs), base, given) for given in (relations, None))
    assert known.endings == found.endings
    assert np.array_equal(known.expert.eval([65, 66]), found.expert.eval([65, 66]))


@every_case
def test_every_offset_is_finite(base: Vocab, vocabs: tuple[Vocab, ...]) -> None:
    aligned = align(*pair_of(*vocabs), base)
    for read in ([65, 66], [300], [len(base) - 1], [END, 0x77]):
        tokens = [token % len(base) for token in read]
        rows = [m.eval(tokens)[-1].copy() for m in (aligned.expert, aligned.anti_expert)]
        assert all(np.isfinite(row).all() for row in rows)
        # What one of them lacks, both do: no token gets the offset of a gap.
        assert np.array_equal(rows[0] <= LACKING, rows[1] <= LACKING)
        base_row = np.zeros((1, len(base)), np.float32)
        fused = fuse(base_row, rows[0][None], rows[1][None], Steering(1.5))
        assert np.isfinite(fused).all()
        assert np.abs(fused).max() < 200.0


@pytest.mark.parametrize("swapped", [False, True])
def test_a_token_that_half_of_the_pair_lacks_is_kept_from_both(swapped: bool) -> None:
    vocabs = fake_vocab(3), fake_vocab()
    aligned = align(*pair_of(*(vocabs[::-1] if swapped else vocabs)), fake_vocab(3))
    difference = aligned.expert.eval([7]) - aligned.anti_expert.eval([7])
    assert np.all(difference[:, -3:] == 0.0)
    assert np.all(difference[:, :-3] != 0.0)
    assert np.abs(difference).max() < 100.0


def test_vocabularies_without_a_text_in_common_are_refused() -> None:
    base, other = word_vocab("a", "b"), word_vocab("c", "d")
    with pytest.raises(VocabularyError, match="the base and the expert have no token of text"):
        align(*pair_of(other), base)
    with pytest.raises(VocabularyError, match="the base and the anti-expert have"):
        align(*pair_of(base, other), base)


# What ends a reply


def test_where_ids_are_shared_the_experts_end_ends_a_reply_and_nothing_is_pooled() -> None:
    base, (pair, places) = with_ends(WIDE, END), shuffled(with_ends(WIDE, TURN_END))
    aligned = align(*pair_of(pair), base)
    assert aligned.endings == {END, TURN_END}
    raw = random_model(1, vocab=pair).eval(places[[1, 2]].tolist())
    assert np.array_equal(aligned.expert.eval([1, 2]), raw[:, places])


def test_an_end_that_only_the_experts_file_names_counts() -> None:
    base = with_ends(WIDE, END)
    for case in (WIDE, SHUFFLED):
        ids = PLACES if case is SHUFFLED else np.arange(len(WIDE))
        expert, anti = with_ends(case, int(ids[TURN_END])), with_ends(case, int(ids[END]))
        assert align(*pair_of(expert, anti), base).endings == {END, TURN_END}


def pooled_rows(
    pair: Vocab, base: Vocab, ends: Sequence[int]
) -> tuple[Aligned, list[NDArray[np.float32]], list[float]]:
    """A pair aligned, its rows after a prompt, and the log-probability of its own `ends`."""
    aligned, prompt = align(*pair_of(pair), base), pair.encode("AB")
    models = aligned.expert, aligned.anti_expert
    rows = [model.eval(own_tokens(model, prompt))[-1] for model in models]
    sums = []
    for model in pair_of(pair):
        raw = model.eval(prompt)[-1].astype(np.float64)
        sums.append(np.logaddexp.reduce(raw[list(ends)]) - np.logaddexp.reduce(raw))
    return aligned, rows, sums


@pytest.mark.parametrize("ends", [(TURN_END,), (END, TURN_END)])
def test_where_an_end_has_no_counterpart_all_are_pooled_at_the_bases(ends: tuple[int, ...]) -> None:
    base, (pair, places) = with_ends(without(WIDE, TURN_END), END), shuffled(with_ends(WIDE, *ends))
    aligned, rows, sums = pooled_rows(pair, base, places[list(ends)].tolist())
    assert aligned.endings == {END}
    for row, wanted in zip(rows, sums, strict=True):
        assert row[END] == pytest.approx(wanted, abs=1e-4)
        assert row[TURN_END] == LACKING
    raw = random_model(1, vocab=pair).eval(places[[65, 66]].tolist())[-1].astype(np.float64)
    others = np.delete(np.arange(len(base)), [END, TURN_END])
    wanted_row = raw[places[others]] - np.logaddexp.reduce(raw)
    np.testing.assert_allclose(rows[0][others], wanted_row, atol=1e-4)


@pytest.mark.parametrize("base_ends", [(), (END,), (END, BOS)])
def test_pooled_mass_stands_at_each_of_the_bases_ends(base_ends: tuple[int, ...]) -> None:
    base = with_ends(without(WIDE, TURN_END), *base_ends)
    pair, places = shuffled(with_ends(WIDE, TURN_END))
    aligned, rows, sums = pooled_rows(pair, base, [int(places[TURN_END])])
    assert aligned.endings == set(base_ends)
    for row, wanted in zip(rows, sums, strict=True):
        np.testing.assert_allclose(row[list(base_ends)], wanted, atol=1e-4)


def test_the_ends_of_different_vocabularies_are_pooled_too() -> None:
    base, pair = with_ends(WIDE, END), with_ends(respelled(WIDE), END, TURN_END)
    aligned, rows, sums = pooled_rows(pair, base, [END, TURN_END])
    assert aligned.endings == {END}
    for row, wanted in zip(rows, sums, strict=True):
        assert row[END] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("other", [WIDE, respelled(WIDE)], ids=["permuted", "different"])
def test_an_end_that_one_of_the_pair_lacks_is_kept_from_both(other: Vocab, swapped: bool) -> None:
    """Else its offset would be that of a gap, and end every reply at once, or none."""
    base = with_ends(without(WIDE, TURN_END), END)
    endless = shuffled(without(with_ends(other), END), 5)[0]
    ending = shuffled(with_ends(other, TURN_END))[0]
    vocabs = (endless, ending) if swapped else (ending, endless)
    aligned = align(*pair_of(*vocabs), base)
    rows = [model.eval([65])[-1] for model in (aligned.expert, aligned.anti_expert)]
    assert rows[0][END] == rows[1][END]


# Prompts


def test_a_model_that_is_not_wrapped_reads_its_tokens_as_they_are() -> None:
    tokens = [1, 2, 3]
    assert own_tokens(random_model(1), tokens) is tokens


@every_case
def test_own_tokens_are_read_as_they_are(base: Vocab, vocabs: tuple[Vocab, ...]) -> None:
    inner = pair_of(*vocabs)
    aligned = align(*inner, base)
    for model, own in zip((aligned.expert, aligned.anti_expert), inner, strict=True):
        prompt = own.vocab.encode("<|im_start|>Hi<|im_end|>", special=True)
        prompt.append(len(own.vocab) - 1)
        model.eval(own_tokens(model, prompt))
        assert own.history == prompt
        assert model.n_past == len(prompt)
        model.eval([65])
        assert own.history == [*prompt, *own.vocab.encode("A")]


def test_a_prompt_may_hold_specials_beyond_what_is_shared() -> None:
    base, pair = lengthened(9), lengthened(9, "<|user|>", "<|assistant|>")
    assert match(base, pair).case == "padded"
    inner = pair_of(pair)
    aligned = align(*inner, base)
    user = len(base)
    prompt = own_tokens(aligned.expert, [user, 72, 105, user + 1])
    row = aligned.expert.eval(prompt)
    assert inner[0].history == [user, 72, 105, user + 1]
    assert row.shape == (1, len(base))
    with pytest.raises(EngineError, match="outside the vocabulary"):
        aligned.expert.eval(own_tokens(aligned.expert, [len(pair)]))


@every_case
def test_a_prompt_that_goes_on_is_not_read_again(base: Vocab, vocabs: tuple[Vocab, ...]) -> None:
    """Replies are read under the base's ids, and come back in a prompt under the model's own."""
    inner = pair_of(*vocabs)
    aligned = align(*inner, base)
    trio = Trio(random_model(3, vocab=base), aligned.expert, aligned.anti_expert)

    def prompt(text: str) -> RoleTokens:
        pair = (
            own_tokens(model, own.vocab.encode(text))
            for model, own in zip((aligned.expert, aligned.anti_expert), inner, strict=True)
        )
        return RoleTokens(base.encode(text), *pair)

    trio.eval(prompt("Hi there"))
    for token in base.encode(" Hello."):
        trio.eval([token])
    before = [model.evaluated for model in inner]
    trio.eval(trio.resume(prompt("Hi there Hello. And")))
    for model, count, own in zip(inner, before, (aligned.expert, aligned.anti_expert), strict=True):
        looked_ahead = 40 if isinstance(own, ProjectedModel) else 0
        assert model.evaluated - count <= len(" And") + 1 + looked_ahead
        assert model.history[: len("Hi there Hello. And")] == model.vocab.encode(
            "Hi there Hello. And"
        )


@every_case
def test_the_pairs_own_rows_are_what_it_says_without_a_base(
    base: Vocab, vocabs: tuple[Vocab, ...]
) -> None:
    pair = pair_of(*vocabs)
    aligned = align(*pair, base)
    for inner, model in zip(pair, (aligned.expert, aligned.anti_expert), strict=True):
        model.eval(base.encode("Hi th"))
        got = own_rows(model, model.eval(base.encode("ere w1")))[-1]
        raw = random_row(inner)
        if isinstance(model, ProjectedModel):
            raw = raw - np.logaddexp.reduce(raw.astype(np.float64))
        np.testing.assert_allclose(got, raw, atol=1e-4)


def random_row(model: FakeModel) -> Logits:
    """What `model` says after what it has read, asked without any wrapper."""
    last = model.history[-1]
    model.rewind(1)
    row: Logits = model.eval([last])[-1].copy()
    return row


STEERING = Steering(0.7, plausibility=0.01)


@every_case
def test_the_rows_behind_a_fused_one_are_the_aligned_ones(
    base: Vocab, vocabs: tuple[Vocab, ...]
) -> None:
    """Those after the closer look, with which the fused row was made."""
    aligned = align(*pair_of(*vocabs), base)
    trio = Trio(random_model(3, vocab=base), aligned.expert, aligned.anti_expert, STEERING)
    trio.eval(base.encode("Hi th"))
    text = base.encode("ere w12 and")
    for count in (1, 3):
        fused = trio.eval(text, count)
        assert [rows.shape for rows in trio.rows] == [(count, len(base))] * 4
        of_base, expert, anti_expert, _ = trio.rows
        again = fuse(of_base, expert, anti_expert, Steering(0.7, plausibility=0.01))
        assert np.array_equal(again, fused)
        assert np.array_equal(fused[-1], trio.rows_of(fused[-1]).fused)
        last = trio.rows_of(fused[-1]).expert.copy()
        trio.rewind(len(text))
    if isinstance(aligned.expert, ProjectedModel):
        first = aligned.expert.eval(text)[-1].copy()
        assert (first != last).any()
        assert aligned.expert.refine(np.flatnonzero(first != last).tolist())


# Transactions


@every_case
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("failing", [0, 1])
def test_a_step_that_fails_leaves_the_pair_as_it_was(
    base: Vocab, vocabs: tuple[Vocab, ...], late: bool, failing: int
) -> None:
    inner = pair_of(*vocabs)
    trio, untouched = (
        Trio(random_model(3, vocab=base), *align(*models, base)[:2])
        for models in (inner, pair_of(*vocabs))
    )
    first = [72, 105, 32]
    untouched.eval(first)
    trio.eval(first)
    inner[failing].fail_on(1, Fault(KeyboardInterrupt(), late))
    with pytest.raises(KeyboardInterrupt):
        trio.eval([104, 111])
    assert [model.n_past for model in trio.models] == [3, 3, 3]
    assert np.array_equal(trio.eval([119, 48]), untouched.eval([119, 48]))
