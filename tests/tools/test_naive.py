"""The naive projections give the values that they define, over what they say they read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgeproxy.align import LACKING
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.errors import Cancelled, ContextFullError, EngineError
from tests.helpers.fakes import FakeModel, Fault, constant, noise
from tools.alignment.naive import FirstToken, NoBoundaries, _Naive

OWN_WORDS = (b"a", b"b", b"ab", b"abc", b"\xc3", b"\xa9", b"\xc3\xa9", b"\xff", b"a")
OWN_END, OWN_STOP, OWN_MARK = (len(OWN_WORDS) + n for n in range(3))

BASE_WORDS = (b"a", b"ab", b"abcd", b"ba", b"\xc3\xa9", b"a\xc3", b"\xff", b"\xfe", b"z", b"abb")
A, AB, ABCD, BA, E_ACUTE, CUT, FF, FE, Z, ABB = range(len(BASE_WORDS))
END, PAD = len(BASE_WORDS), len(BASE_WORDS) + 1


def greedy(text: str, first: bool, special: bool) -> list[int]:
    """The longest own token that fits, again and again; a byte that has none is left out."""
    data, tokens = text.encode(), []
    while data:
        fitting = [n for n, word in enumerate(OWN_WORDS) if data.startswith(word)]
        tokens += [max(fitting, key=lambda n: len(OWN_WORDS[n]))] if fitting else []
        data = data[len(OWN_WORDS[tokens[-1]]) if fitting else 1 :]
    return tokens


OWN = Vocab(
    tokens=(*OWN_WORDS, b"<end>", b"<stop>", b"abcd"),
    kinds=(*[Kind.NORMAL] * len(OWN_WORDS), *[Kind.CONTROL] * 3),
    end_of_generation=frozenset((OWN_END, OWN_STOP)),
    tokenize=greedy,
)
BASE = Vocab(
    tokens=(*BASE_WORDS, b"<end>", b"a"),
    kinds=(*[Kind.NORMAL] * len(BASE_WORDS), Kind.CONTROL, Kind.UNUSED),
    end_of_generation=frozenset((END,)),
)

P = [0.05, 0.1, 0.2, 0.15, 0.06, 0.04, 0.03, 0.02, 0.05, 0.1, 0.12, 0.08]
"""What the own tokens have in every row of `constant` ones."""

both = pytest.mark.parametrize("make", [FirstToken, NoBoundaries])
Make = Callable[[FakeModel, Vocab], _Naive]


def own_model(seed: int = 1) -> FakeModel:
    return FakeModel(noise(seed, OWN), vocab=OWN)


def known() -> FakeModel:
    assert math.fsum(P) == pytest.approx(1.0)
    # Rows need not be normalised.
    return FakeModel(constant([math.log(p) + 7.0 for p in P]), vocab=OWN)


def only_row(model: _Naive) -> Logits:
    row: Logits = np.exp(model.eval([A])[0])
    return row


def own(*tokens: int) -> list[int]:
    return [len(BASE) + token for token in tokens]


def test_first_token_gives_what_the_first_own_token_has() -> None:
    row = only_row(FirstToken(known(), BASE))
    expected = np.zeros(len(BASE))
    expected[[A, AB, ABCD, BA]] = P[0], P[2], P[3], P[1]
    expected[[E_ACUTE, CUT, FF, ABB]] = P[6], P[0], P[7], P[2]
    expected[END] = P[OWN_END] + P[OWN_STOP]
    np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_no_boundaries_gives_what_all_own_tokens_that_begin_so_have() -> None:
    row = only_row(NoBoundaries(known(), BASE))
    a = P[0] + P[8]
    expected = np.zeros(len(BASE))
    expected[[A, AB]] = a + P[2] + P[3], P[2] + P[3]
    # No own token, so that the longest one inside it counts: abc, b, a, ab.
    expected[[ABCD, BA, CUT, ABB]] = P[3], P[1], a, P[2]
    expected[[E_ACUTE, FF]] = P[6], P[7]
    expected[END] = P[OWN_END] + P[OWN_STOP]
    np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_no_boundaries_adds_both_parts_where_both_are_there() -> None:
    base = Vocab((b"a", b"ab", b"c"), (Kind.NORMAL,) * 3)
    words = Vocab((b"a", b"abc", b"cc", b"x"), (Kind.NORMAL,) * 4, tokenize=lambda *_: [0])
    model = FakeModel(constant([math.log(p) for p in (0.1, 0.2, 0.3, 0.4)]), vocab=words)
    row = np.exp(NoBoundaries(model, base).eval([0])[0])
    np.testing.assert_allclose(row, [0.3, 0.2 + 0.1, 0.3], rtol=1e-5)


def test_no_boundaries_agrees_with_plain_sums_for_any_vocabulary() -> None:
    random = np.random.default_rng(0)

    def words(n: int) -> tuple[bytes, ...]:
        return tuple(bytes(random.choice([97, 98, 255], random.integers(1, 5))) for _ in range(n))

    theirs = Vocab(words(60), (Kind.NORMAL,) * 60, tokenize=lambda *_: [0])
    base = Vocab(words(80), (Kind.NORMAL,) * 80)
    logits = random.normal(size=60)
    p = np.exp(logits - np.logaddexp.reduce(logits))
    row = np.exp(
        NoBoundaries(FakeModel(constant(logits.tolist()), vocab=theirs), base).eval([80])[0]
    )
    for token, data in enumerate(base.tokens):
        expected = sum(p[n] for n, word in enumerate(theirs.tokens) if word.startswith(data))
        if data not in theirs.tokens:
            inside = [word for word in theirs.tokens if data.startswith(word)]
            longest = max(inside, key=len, default=b"")
            expected += sum(p[n] for n, word in enumerate(theirs.tokens) if word == longest)
        assert row[token] == pytest.approx(expected, rel=1e-5, abs=1e-30), data
    assert 0 < sum(data in theirs.tokens for data in base.tokens) < 80


@both
def test_what_cannot_be_said_is_finite_and_tiny(make: Make) -> None:
    row = make(known(), BASE).eval([A])[0]
    assert row.dtype == np.float32
    assert [row[token] for token in (FE, Z, PAD)] == [LACKING] * 3
    no_end = Vocab(OWN.tokens, OWN.kinds, tokenize=greedy)
    assert make(FakeModel(vocab=no_end), BASE).eval([A])[0][END] == LACKING


@both
def test_every_token_is_read_as_its_own_text_alone(make: Make) -> None:
    model = own_model()
    naive = make(model, BASE)
    naive.eval(own(OWN_MARK, 1, 8))
    assert model.history == [OWN_MARK, 1, 8]
    naive.eval([A, BA, CUT, FF])
    # a + ba + a\xc3 + \xff: no "ab" is made across tokens, and bytes are read one by one.
    assert model.history[3:] == [0, 1, 0, 0, 4, 7]
    assert naive.n_past == 7
    naive.eval([AB, ABCD])
    assert model.history[9:] == [2, 3]


@both
def test_rows_follow_the_last_base_tokens(make: Make) -> None:
    context, tokens = own(1, 2), [BA, A, ABB, E_ACUTE]
    together = make(own_model(), BASE).eval([*context, *tokens], 3)
    for n in range(3):
        alone = make(own_model(), BASE).eval([*context, *tokens[: 2 + n]])
        np.testing.assert_array_equal(together[n], alone[0])
    assert together.shape == (3, len(BASE))
    assert not np.array_equal(together[0], together[1])


@both
@pytest.mark.parametrize("nothing", [END, PAD, Z, FE])
def test_a_token_that_reads_as_nothing_gives_the_row_before_it(make: Make, nothing: int) -> None:
    model = own_model()
    naive = make(model, BASE)
    before = naive.eval([AB])[0].copy()
    rows = naive.eval([nothing, nothing], 2)
    np.testing.assert_array_equal(rows, [before, before])
    assert (naive.n_past, model.n_past) == (3, 1)
    naive.eval([BA])
    naive.rewind(2)
    np.testing.assert_array_equal(naive.eval([nothing])[0], before)
    assert (naive.n_past, model.history) == (3, [2])


@both
def test_there_is_no_row_before_anything_was_read(make: Make) -> None:
    naive = make(own_model(), BASE)
    with pytest.raises(EngineError, match="nothing was read"):
        naive.eval([END])
    assert naive.n_past == 0
    assert naive.eval([END, A]).shape == (1, len(BASE))


@both
def test_rewinding_forgets_the_own_tokens_of_each(make: Make) -> None:
    model = own_model()
    naive = make(model, BASE)
    naive.eval([*own(1, 0), BA, END, ABB])
    naive.rewind(2)
    assert (model.history, naive.n_past) == ([1, 0, 1, 0], 3)
    after = naive.eval([AB])[0].copy()
    fresh = make(own_model(), BASE).eval([*own(1, 0), BA, AB])[0]
    np.testing.assert_array_equal(after, fresh)
    naive.rewind(4)
    assert (model.history, naive.n_past) == ([], 0)
    for n in (-1, 1):
        with pytest.raises(EngineError, match="cannot forget"):
            naive.rewind(n)


@both
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_eval_that_fails_leaves_everything_as_it_was(make: Make, nth: int) -> None:
    model = own_model()
    naive = make(model, BASE)
    naive.eval([A, BA])
    model.fail_on(nth, Fault(Cancelled("stopped")))
    with pytest.raises(Cancelled):
        naive.eval([A, AB, BA, ABB], 3)
    assert (model.history, naive.n_past) == ([0, 1, 0], 2)
    np.testing.assert_array_equal(naive.eval([AB]), make(own_model(), BASE).eval([A, BA, AB]))


@both
@pytest.mark.parametrize("tokens", [[-1], [len(BASE) + len(OWN)]])
def test_a_token_of_neither_vocabulary_is_refused(make: Make, tokens: Sequence[int]) -> None:
    with pytest.raises(EngineError, match="outside both"):
        make(own_model(), BASE).eval(tokens)


@both
def test_a_full_context_and_impossible_rows_are_refused(make: Make) -> None:
    naive = make(FakeModel(vocab=OWN, n_ctx=4), BASE)
    naive.eval([BA])
    for tokens in ([A, A, A, A], [BA, BA]):
        with pytest.raises(ContextFullError):
            naive.eval(tokens)
    for rows in (0, 2):
        with pytest.raises(EngineError, match="rows asked"):
            naive.eval([A], rows)
    assert (naive.n_past, naive.n_ctx, naive.vocab) == (1, 4, BASE)


@pytest.mark.slow
@both
def test_real_vocabularies_are_read_byte_for_byte(make: Make, tokenizers: dict[str, Vocab]) -> None:
    theirs, base = tokenizers["llama-spm"], tokenizers["gpt-2"]
    row = [0.0] * len(theirs)
    for token in theirs.encode(" the"):
        row[token] = 20.0
    naive = make(FakeModel(constant(row), vocab=theirs), base)
    for token in range(0, len(base), 97):
        assert b"".join(theirs.tokens[n] for n in naive.spell(token)) == base.piece(token)
    values = naive.eval(base.encode("Hello"))[0]
    the, cat = (base.encode(word)[0] for word in (" the", " cat"))
    assert -0.001 < values[the] < 0
    assert values[cat] < -5
