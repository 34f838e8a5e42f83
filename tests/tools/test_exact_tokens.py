"""The exact reference for base tokens, against all texts that a small model can say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.vocab import Vocab
from tests.helpers.fakes import FakeModel, Rows, noise
from tests.helpers.tokenizing import LARGE, bpe_vocab
from tools.alignment.cuts import ASTRAY, BROKEN, OPEN, cuts_of
from tools.alignment.exact_tokens import Rows as RowsAfter
from tools.alignment.exact_tokens import log_chances, next_base

BASE = bpe_vocab("ab", "ba", " a", " ab", "aba", "bb", "abab", "é")
OWN = bpe_vocab(" b", "bab", "aa", " aa", "a b", "é", reverse=True)
END = len(OWN) - 2
LONGEST = 4


def few(seed: int, vocab: Vocab, letters: bytes, most: int = LONGEST) -> Rows:
    """Random rows for texts of these letters that end after `most` tokens, prompt included."""
    noisy = noise(seed, vocab)
    said = [n for n, data in enumerate(vocab.texts) if data and set(data) <= set(letters)]

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        out = np.full(len(vocab), -np.inf, np.float32)
        kept = [END] if len(history) >= most else [*said, END]
        out[kept] = noisy(history)[kept] / 2
        return out

    return row


def sentences(rows: Rows, history: list[int], p: float = 1.0) -> Iterator[tuple[bytes, float]]:
    """Every text that can be said after `history`, one tokenisation at a time."""
    row = rows(history).astype(np.float64)
    chances = np.exp(row - row.max())
    chances /= chances.sum()
    for token in np.flatnonzero(chances):
        if token == END:
            yield b"", p * chances[token]
            continue
        for text, of_text in sentences(rows, [*history, int(token)], p * chances[token]):
            yield OWN.texts[token] + text, of_text


def by_hand(rows: Rows, context: list[int], said: bytes) -> tuple[dict[int, float], float]:
    """What follows `said` in all texts: base tokens, -1 for the end; and what is astray."""
    found: defaultdict[int, float] = defaultdict(float)
    astray = 0.0
    for text, p in sentences(rows, context):
        if not text.startswith(said):
            continue
        place, after = 0, -1
        for token in BASE.encode(text.decode(errors="strict")):
            if place >= len(said):
                after = token
                break
            place += len(BASE.texts[token])
        if text == said:
            found[-1] += p
        elif place == len(said) and after >= 0:
            found[after] += p
        else:
            astray += p
    return found, astray


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("said", [b"", b"a", b" a", b"ab", b"ba", b"b a", b"bab"])
def test_every_text_is_counted_once(seed: int, said: bytes) -> None:
    rows = few(seed, OWN, b"ab ")
    context = OWN.encode("b")
    model = FakeModel(rows, vocab=OWN)
    found = next_base(model, context, said, BASE, epsilon=0.0)
    truth, astray = by_hand(rows, context, said)
    total = sum(truth.values())
    assert len(truth) > 3
    assert found.undecided == 0.0
    assert found.end == pytest.approx(truth.pop(-1) / total, abs=1e-9)
    assert dict(found.p) == pytest.approx({t: p / total for t, p in truth.items()}, abs=1e-9)
    assert found.astray == pytest.approx(astray / total, abs=1e-9)
    assert found.log_mass == pytest.approx(math.log(total), abs=1e-9)
    assert model.history == []


def test_what_is_left_out_is_bounded() -> None:
    rows, context = few(5, OWN, b"ab "), OWN.encode("b")
    model = FakeModel(rows, vocab=OWN)
    truth, _ = by_hand(rows, context, b"a")
    total = sum(truth.values())
    counts = []
    for epsilon in (0.03, 0.003, 0.0):
        found = next_base(model, context, b"a", BASE, epsilon=epsilon)
        counts.append(found.n_evals)
        for token, p in truth.items():
            seen = found.end if token == -1 else found.p.get(token, 0.0)
            seen *= math.exp(found.log_mass)
            lacking = found.undecided * math.exp(found.log_mass)
            assert seen - 1e-9 <= p <= seen + lacking + 1e-9
        assert total >= math.exp(found.log_mass) - 1e-9
    assert counts == sorted(set(counts))


def test_a_token_is_found_however_unlikely_it_is() -> None:
    rows, context = few(7, OWN, b"ab "), OWN.encode("b")
    model = FakeModel(rows, vocab=OWN)
    truth, _ = by_hand(rows, context, b"ab")
    with RowsAfter(model, context) as after:
        tokens = [token for token in truth if token >= 0]
        found = log_chances(after, b"ab", BASE, tokens, epsilon=1e-6)
        never = BASE.encode("z")[0]
        assert log_chances(after, b"ab", BASE, [never], epsilon=1e-6)[never][0] == -math.inf
    assert len(tokens) > 3
    for token, (log_p, lacking) in found.items():
        assert log_p == pytest.approx(math.log(truth[token]), abs=1e-4)
        assert 0 <= lacking < 1e-3
    assert model.n_past == 0


def speaking_canonically(seed: int, vocab: Vocab) -> Rows:
    """Random rows that only say what the vocabulary's tokenizer makes of some text."""
    noisy = noise(seed, vocab)
    allowed = [n for n, data in enumerate(vocab.texts) if data and set(data) <= set(b"thelord w")]
    (end,) = vocab.end_of_generation

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        said = b"".join(vocab.texts[token] for token in history)
        out = np.full(len(vocab), -np.inf, np.float32)
        noisy_row = noisy(history)
        for token in allowed:
            if vocab.encode((said + vocab.texts[token]).decode()) == [*history, token]:
                out[token] = noisy_row[token]
        out[end] = 0.0
        return out

    return row


@pytest.mark.parametrize("said", ["", "the", " wor", "hell", "t"])
def test_with_the_bases_own_vocabulary_it_is_the_models_row(said: str) -> None:
    context = LARGE.encode("the")
    path = LARGE.encode("the" + said)
    assert path[: len(context)] == context
    rows = speaking_canonically(3, LARGE)
    model = FakeModel(rows, vocab=LARGE)
    found = next_base(model, context, said.encode(), LARGE, epsilon=1e-7)
    own = rows(path).astype(np.float64)
    p = np.exp(own - own.max())
    p /= p.sum()
    assert np.count_nonzero(p) > 10
    for token in np.flatnonzero(p):
        seen = found.end if token in LARGE.end_of_generation else found.p.get(int(token), 0.0)
        assert seen / (1 + found.undecided) <= p[token] + 1e-9
        assert p[token] <= (seen + found.undecided) / (1 + found.undecided) + 1e-9
        assert seen == pytest.approx(p[token], abs=0.02)
    assert found.undecided < 0.01


def test_half_a_character_is_walked_on() -> None:
    first, second = (OWN.texts.index(bytes([byte])) for byte in "é".encode())
    whole, letter = OWN.texts.index("é".encode()), OWN.texts.index(b"a")

    def rows(history: Sequence[int]) -> NDArray[np.float32]:
        out = np.full(len(OWN), -np.inf, np.float32)
        if history[-1] == first:
            out[[second, letter]] = np.log([0.75, 0.25])
        elif len(history) == 1:
            out[[first, whole]] = np.log([0.4, 0.6])
        else:
            out[END] = 0.0
        return out

    found = next_base(FakeModel(rows, vocab=OWN), OWN.encode("b"), b"", BASE, epsilon=0.0)
    accent = BASE.texts.index("é".encode())
    # Of 0.4 that begin with half of it a quarter is no text.
    assert dict(found.p) == pytest.approx({accent: 1.0})
    assert found.undecided == pytest.approx(0.1 / 0.9)
    # And after half a character of which the base has no other end, nothing fits what was said.
    half = next_base(FakeModel(rows, vocab=OWN), OWN.encode("b"), b"\xc3", BASE, epsilon=0.0)
    assert half.p == {}
    assert half.astray == pytest.approx(0.9)


def test_a_token_is_certain_once_no_other_can_come() -> None:
    cuts = cuts_of(BASE)
    ids = {data: token for token, data in enumerate(BASE.texts)}
    assert cuts.token_at(b"ab", 0) == OPEN
    assert cuts.token_at(b"ab", 0, ended=True) == ids[b"ab"]
    assert cuts.token_at(b"ab ", 0) == ids[b"ab"]
    # Another "b" would make "abab" of it, and any other letter would not.
    assert cuts.token_at(b"aba", 0) == OPEN
    assert cuts.token_at(b"abaz", 0) == ids[b"aba"]
    assert cuts.token_at(b"abz", 1) == ASTRAY
    assert cuts.token_at(b"\xc3", 0) == OPEN
    assert cuts.token_at(b"\xc3", 0, ended=True) == BROKEN
    assert cuts.token_at(b"\xc3z", 0) == BROKEN


def test_it_needs_a_row_to_begin_with() -> None:
    with pytest.raises(ValueError, match="context"):
        next_base(FakeModel(vocab=OWN), [], b"", BASE, epsilon=0.1)
