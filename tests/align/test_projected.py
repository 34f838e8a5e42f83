"""A model under another tokenizer: what it has read is what its own tokenizer makes of the text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproxy.align.projected as projected_module
from edgeproxy.align import LACKING, ProjectedModel, align, match
from edgeproxy.align.projected import MAX_PATHS, SHARE, SPARE, WINDOW
from edgeproxy.align.spelling import MAX_WORD, Spelling
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import ContextFullError, EngineError
from tests.helpers.fakes import FakeModel, Fault, noise
from tests.helpers.nasty import LONG, NASTY, spellings
from tests.helpers.tokenizing import LARGE, PIECES, SMALL, unigram_vocab

TEXT = "hello there, the world is 2024 and the other é is abababab "
NAMES = ("gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder")
DIFFERENT = [
    (base, own)
    for base in NAMES
    for own in NAMES
    if base != own and {base, own} != {"llama-spm", "phi-3"}
]


class Recorder:
    """A model that keeps what it reads and says nothing: all that the invariants are about."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self.history: list[int] = []
        self.n_ctx = 1 << 30
        self.can_rewind = True
        self.evaluated = 0
        self._row = np.zeros((1, len(vocab)), np.float32)

    @property
    def n_past(self) -> int:
        return len(self.history)

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        assert 1 <= rows <= len(tokens)
        self.history += tokens
        self.evaluated += len(tokens)
        return np.broadcast_to(self._row, (rows, len(self.vocab)))

    def rewind(self, n: int) -> None:
        assert 0 <= n <= len(self.history)
        del self.history[len(self.history) - n :]

    def branch(
        self, trunk: Sequence[int], others: Sequence[tuple[int, Sequence[int]]] = ()
    ) -> list[Logits]:
        raise AssertionError("nothing is refined here")


class Mute:
    """A projection of nothing."""

    def row(self, nodes: object, out: Logits) -> None:
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of zeros need no softmax over 150,000 tokens."""
    monkeypatch.setattr(projected_module, "log_probabilities", lambda raw: raw)


class Reading:
    """A projected model beside the text that it should have read, compared at every step."""

    def __init__(self, base: Vocab, own: Vocab, spelling: Spelling) -> None:
        self.base, self.own = base, own
        self.inner = Recorder(own)
        self.spelling = spelling
        mute: Any = Mute()
        self.model = ProjectedModel(self.inner, base, mute, spelling)
        self.prompt = [next(n for n, text in enumerate(own.texts) if text)]
        self.model.eval(self.model.own(self.prompt))
        self.read: list[int] = []

    def eval(self, tokens: Sequence[int]) -> None:
        self.model.eval(tokens)
        self.read += tokens

    def rewind(self, n: int) -> None:
        self.model.rewind(n)
        del self.read[len(self.read) - n :]

    def check(self) -> None:
        data = b"".join(self.base.texts[token] for token in self.read)
        own = self.model.own_read[len(self.prompt) :]
        assert self.model.n_past == len(self.prompt) + len(self.read)
        assert self.model.text == data
        assert self.inner.history[: len(self.model.own_read)] == self.model.own_read
        assert b"".join(self.own.texts[token] for token in own) == data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        if len(max(self.spelling.words(data), key=len, default=b"")) > MAX_WORD - 4:
            return  # it was cut there
        plain = self.own.encode(text)
        # A typed U+2581 comes back from SentencePiece as a space.
        if b"".join(self.own.texts[token] for token in plain) == data:
            assert own == plain


def base_tokens(base: Vocab, text: str, source: random.Random) -> list[int]:
    """`text` in tokens of the base's, cut as it would or, mostly, as it never would."""
    way = source.randrange(3)
    try:
        if way < 2:
            return spellings(base, text.encode(), source, as_bytes=way == 1)
    except ValueError:
        pass  # it has no token for one of the bytes alone
    return base.encode(text)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("base", "own"), DIFFERENT)
def test_nasty_texts_are_read_as_the_own_tokenizer_spells_them(
    tokenizers: dict[str, Vocab], base: str, own: str
) -> None:
    assert match(tokenizers[base], tokenizers[own]).case == "different"
    spelling = Spelling(tokenizers[own])
    for name, text in NASTY.items():
        source = random.Random(f"{base} {own} {name}")
        reading = Reading(tokenizers[base], tokenizers[own], spelling)
        # Long texts come in pieces of many tokens, the others one by one.
        most = 2000 if name in LONG else 1
        left = base_tokens(tokenizers[base], text, source)
        for _ in range(60):
            if reading.read and source.random() < 0.25:
                n = source.randint(1, min(len(reading.read), source.choice((1, 3, 40, 3000))))
                left = reading.read[len(reading.read) - n :] + left
                reading.rewind(n)
            step = source.randint(1, most)
            if left[:step]:
                reading.eval(left[:step])
                reading.check()
            left = left[step:]
        if left:
            reading.eval(left)
        reading.check()
        assert reading.model.text == text.encode() or "\u2581" in text, name


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("own", [SMALL, PIECES], ids=["bpe", "unigram"])
def test_every_way_to_cut_a_text_leads_to_the_same_tokens(own: Vocab) -> None:
    source = random.Random(5)
    wanted = own.encode(TEXT)
    for _ in range(200):
        reading = Reading(LARGE, own, Spelling(own))
        for token in spellings(LARGE, TEXT.encode(), source):
            reading.eval([token])
            reading.check()
        assert reading.model.own_read == [*reading.prompt, *wanted]


def test_words_that_another_follows_never_change(tokenizers: dict[str, Vocab]) -> None:
    for vocab in tokenizers.values():
        spelling = Spelling(vocab)
        for name, text in NASTY.items():
            data = text.encode()
            words = list(spelling.words(data))
            assert b"".join(words) == data
            assert all(0 < len(word) <= MAX_WORD for word in words)
            source = random.Random(name)
            for _ in range(5):
                end = source.randint(0, len(data))
                before = list(spelling.words(data[:end]))
                assert before[:-1] == words[: max(0, len(before) - 1)], name


def fake(vocab: Vocab, seed: int, n_ctx: int = 4096) -> FakeModel:
    return FakeModel(noise(seed, vocab), vocab=vocab, n_ctx=n_ctx)


def trio_of(own: Vocab, *, plausibility: float = 0.0, n_ctx: int = 4096) -> Trio:
    expert, anti = fake(own, 2, n_ctx), fake(own, 3, n_ctx)
    aligned = align(expert, anti, LARGE)
    return Trio(
        fake(LARGE, 1), aligned.expert, aligned.anti_expert, Steering(plausibility=plausibility)
    )


def prompt(trio: Trio) -> RoleTokens:
    models: Any = trio.expert, trio.anti_expert
    return RoleTokens([1, 2], models[0].own([5, 6, 7]), models[1].own([8]))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_CACHE", str(tmp_path))


@pytest.mark.parametrize("plausibility", [0.0, 0.05])
def test_a_rewound_trio_says_what_a_fresh_one_says(plausibility: float) -> None:
    """Bit for bit, looks ahead included: nothing of what was rewound can be seen."""
    source = random.Random(7)
    tokens = LARGE.encode(TEXT)
    fresh = trio_of(SMALL, plausibility=plausibility)
    rows = [fresh.eval(prompt(fresh))[-1].copy()]
    rows += [fresh.eval([token])[-1].copy() for token in tokens]
    trio = trio_of(SMALL, plausibility=plausibility)
    trio.eval(prompt(trio))
    at = 0
    for _ in range(120):
        if source.random() < 0.3:
            n = source.randint(0, at)
            trio.rewind(n)
            at -= n
            # Off the path and back: what was read meanwhile must leave no trace.
            others = source.choices(range(256), k=source.randint(1, 4))
            for other in others:
                trio.eval([other])
            trio.rewind(len(others))
        if at < len(tokens):
            assert np.array_equal(trio.eval([tokens[at]])[-1], rows[at + 1])
            at += 1


def test_what_a_rewound_trio_holds_is_put_back_or_cannot_be_taken_out() -> None:
    """In the middle of a word too, which its own tokens spell otherwise than the longer one."""
    tokens = LARGE.encode(TEXT)
    put_back = 0
    for end in range(1, len(tokens)):
        trio, other = trio_of(SMALL), trio_of(SMALL)
        trio.eval(prompt(trio))
        for token in tokens[:end]:
            trio.eval([token])
        trio.rewind(end // 3)
        trio.settle()
        other.eval(prompt(other))
        other.eval([65])
        try:
            sizes = [model.state_size() for model in trio.saving]
            states = [model.state() for model in trio.saving]
        except EngineError:
            continue
        put_back += 1
        assert sizes == list(map(len, states))
        other.adopt(trio.held, states)
        assert other.held == trio.held
        assert np.array_equal(other.eval([66]), trio.eval([66]))
    assert put_back > len(tokens) // 2


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_a_token_of_neither_vocabulary_is_refused_wherever_it_stands(wrong: int) -> None:
    trio = trio_of(SMALL)
    model: Any = trio.expert
    model.eval(model.own([5, 6]))
    read = list(model.own_read)
    for tokens in ([wrong], [*model.own([7]), wrong], [65, wrong, *model.own([7])]):
        with pytest.raises(EngineError, match="outside the vocabulary"):
            model.eval(tokens)
        assert (model.n_past, model.own_read) == (2, read)


def test_with_the_bases_own_vocabulary_it_is_the_models_own_row() -> None:
    """Where both cut text alike, the projection is the log-softmax of the row."""
    for seed in range(5):
        model, plain = fake(LARGE, seed), fake(LARGE, seed)
        found = match(LARGE, LARGE)
        different = type(found)("different", found.shared)
        aligned: Any = align(model, fake(LARGE, 9), LARGE, (different, different)).expert
        assert isinstance(aligned, ProjectedModel)
        aligned.eval(aligned.own([104]))
        raw = plain.eval([104])[0].astype(np.float64)
        row = raw - np.log(np.exp(raw).sum())
        text = np.array([bool(word) for word in LARGE.texts])
        got = aligned._out[0]
        np.testing.assert_allclose(got[text], row[text], atol=2e-5)


def test_rows_are_finite_for_every_token_and_silent_ones_have_no_offset() -> None:
    own = unigram_vocab({"a": -1.0, "b": -1.0, " ": -2.0, "ab": -2.0}, with_bytes=False)
    expert, anti = fake(own, 2), fake(own, 3)
    aligned: Any = align(expert, anti, LARGE)
    models = aligned.expert, aligned.anti_expert
    for model in models:
        model.eval(model.own([0]))
    for token in [*LARGE.encode("ab ab\u00e9 the end"), len(LARGE) - 2, 0xE9, 0]:
        rows = [model.eval([token])[0] for model in models]
        assert all(np.isfinite(row).all() for row in rows)
        offset = rows[0] - rows[1]
        for other, text in enumerate(LARGE.texts):
            spelled = text and not set(text) - set(b"ab ")
            if not spelled and other not in LARGE.end_of_generation:
                assert offset[other] == 0.0
                assert rows[0][other] == LACKING


@pytest.mark.parametrize("own", [SMALL, PIECES], ids=["bpe", "unigram"])
def test_a_closer_look_never_tears_the_offsets_apart(own: Vocab) -> None:
    """A token that the pair can spell has a likelihood for both, however small."""
    trio = trio_of(own)
    trio.eval(prompt(trio))
    models: Any = trio.expert, trio.anti_expert
    looked = 0
    for token in LARGE.encode(TEXT):
        trio.eval([token])
        for model in models:
            model.refine(range(0, len(LARGE), 7))
        offset = models[0]._out[0] - models[1]._out[0]
        assert np.abs(offset).max() < 60.0
        looked += len(models[0]._refined)
    assert looked > 100


@pytest.mark.slow
def test_a_step_that_fails_leaves_the_trio_as_it_was() -> None:
    tokens = LARGE.encode(TEXT)
    for late in (False, True):
        for failing in range(1, 12):
            fresh, trio = trio_of(SMALL), trio_of(SMALL)
            for one in (fresh, trio):
                one.eval(prompt(one))
            inner: Any = trio.expert
            inner._model.fail_on(failing, Fault(KeyboardInterrupt(), late))
            for token in tokens[:12]:
                wanted = fresh.eval([token])[-1].copy()
                before = [model.n_past for model in trio.models]
                try:
                    got = trio.eval([token])[-1]
                except KeyboardInterrupt:
                    assert [model.n_past for model in trio.models] == before
                    got = trio.eval([token])[-1]
                assert np.array_equal(got, wanted)


def test_a_full_context_ends_the_reply_and_a_look_ahead_does_not() -> None:
    trio = trio_of(SMALL, n_ctx=24)
    trio.eval(prompt(trio))
    left = LARGE.encode(TEXT)
    while trio.n_past < trio.n_ctx:
        try:
            trio.eval(left[:1])
        except ContextFullError:
            break
        del left[0]
    read = len(LARGE.encode(TEXT)) - len(left)
    assert read > 8
    with pytest.raises(ContextFullError, match="full"):
        trio.eval(left[:1])
    trio.rewind(read)
    assert trio.eval([104]).shape == (1, len(LARGE))


def test_several_rows_are_those_of_single_steps() -> None:
    one, many = trio_of(SMALL), trio_of(SMALL)
    for trio in (one, many):
        trio.eval(prompt(trio))
    tokens = LARGE.encode(" the world is")
    rows = [one.eval([token])[-1].copy() for token in tokens]
    got = many.eval(tokens, len(tokens))
    assert np.array_equal(got, np.stack(rows))
    with pytest.raises(EngineError):
        many.eval(tokens, len(tokens) + 1)


@pytest.mark.slow
def test_what_is_evaluated_stays_near_what_the_text_takes() -> None:
    """Random rows ask for a close look at every step: the budget holds that down."""
    text = TEXT * 8
    costs = []
    for alpha in (0.0, 1.0):
        trio = trio_of(SMALL)
        trio.steering = Steering(
            alpha
        )  # nothing is looked at more closely where the pair has no say
        trio.eval(prompt(trio))
        for token in LARGE.encode(text):
            trio.eval([token])
        expert: Any = trio.expert
        costs.append(expert.cost)
        assert expert.cost.evaluated == expert._model.evaluated - 3
        assert expert.cost.base_tokens == len(LARGE.encode(text))
        assert expert.cost.ideal == len(SMALL.encode(text))
    bare, looking = costs
    assert bare.ratio > 1.0
    budget = (1 + SHARE) * looking.ideal + SPARE
    assert looking.evaluated <= max(bare.evaluated, budget) + SPARE


def test_a_long_word_is_looked_back_over_only_so_far() -> None:
    trio = trio_of(SMALL)
    trio.eval(prompt(trio))
    expert: Any = trio.expert
    for token in LARGE.encode("x" * 40):
        trio.eval([token])
    assert len(expert._nodes) == WINDOW + 1


def test_the_bases_special_tokens_read_as_nothing() -> None:
    trio = trio_of(SMALL)
    trio.eval(prompt(trio))
    expert: Any = trio.expert
    before = expert.eval(LARGE.encode(" th"))[0].copy()
    (end,) = LARGE.end_of_generation
    assert np.array_equal(expert.eval([end])[0], before)
    assert expert.text == b" th"
    with pytest.raises(EngineError, match="outside the vocabulary"):
        expert.eval([len(LARGE) + len(SMALL)])


@pytest.mark.parametrize("own", [SMALL, PIECES], ids=["bpe", "unigram"])
def test_the_token_that_leads_is_the_right_one_where_the_expert_counts(
    own: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every token had been looked at closely, with the same weights."""
    trio = trio_of(own)
    trio.steering = Steering(base_weight=0.5)
    trio.eval(prompt(trio))
    models: Any = trio.expert, trio.anti_expert
    right = []
    for token in LARGE.encode(TEXT)[:20]:
        leads = int(trio.eval([token])[-1].argmax())
        with monkeypatch.context() as unlimited:
            unlimited.setattr(projected_module, "SPARE", 1 << 20)
            for first in range(0, len(LARGE), MAX_PATHS):
                for model in models:
                    model.refine(range(first, min(first + MAX_PATHS, len(LARGE))))
        base, expert, anti_expert, _ = trio.rows
        right.append(leads == int(fuse(base, expert, anti_expert, trio.steering)[-1].argmax()))
    assert sum(right) >= 18
