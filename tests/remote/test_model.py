"""A server's predictions keep what every `Model` keeps, whatever the server does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError, EngineError, RemoteError
from edgeproxy.remote import model as model_module
from edgeproxy.remote.model import RemoteModel
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws, Known, Offer
from edgeproxy.remote.spent import Spent
from tests.helpers.fakes import fake_vocab, noise

VOCAB = fake_vocab()
N = len(VOCAB)


class Predicting:
    """A server without HTTP: rows of noise. What it does next is in `next`: a row, or an error."""

    def __init__(self, vocab: Vocab = VOCAB) -> None:
        self.spent = Spent()
        self.offer = Offer("a fake", "a-model", 100, None, True, True)
        self.who = "http://127.0.0.1:1"
        self.next: list[Any] = []
        self.asked: list[tuple[list[int], Any]] = []
        self.closed = 0
        self._noise = noise(7, vocab)

    def rows(
        self, tokens: Sequence[int], count: int, k: int, cancel: Cancel | None = None
    ) -> list[Known]:
        self.asked.append((list(tokens), k))
        if self.next:
            return list(self._taken())
        ends = range(len(tokens) - count + 1, len(tokens) + 1)
        return [known(self._noise(tokens[:end]), k) for end in ends]

    def look_up(
        self, tokens: Sequence[int], token: int, cancel: Cancel | None = None
    ) -> float | None:
        self.asked.append((list(tokens), token))
        row = self._noise(tokens)
        return float(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))

    def draw(
        self, tokens: Sequence[int], bias: BiasBy, draws: Draws, cancel: Cancel | None = None
    ) -> Drawn:
        self.asked.append((list(tokens), dict(bias)))
        return self._taken() if self.next else Drawn(int(self._noise(tokens).argmax()))

    def _taken(self) -> Any:
        found = self.next.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        self.closed += 1


def known(row: Any, k: int) -> Known:
    logprobs = row - row.max() - np.log(np.exp(row - row.max()).sum())
    best = np.argsort(-row, kind="stable")[:k]
    return Known(best, logprobs[best].astype(np.float32))


def remote(k: int = N, n_ctx: int = 100) -> tuple[RemoteModel, Predicting]:
    server = Predicting()
    return RemoteModel(server, VOCAB, n_ctx, k, "rows" if k else "bias"), server


def test_rows_depend_only_on_what_was_not_rewound() -> None:
    model, _ = remote()
    fresh, source = remote()[0], random.Random(1)
    read: list[int] = []
    for _ in range(200):
        if source.random() < 0.3:
            n = source.randint(0, len(read))
            model.rewind(n)
            del read[len(read) - n :]
        else:
            tokens = [source.randrange(N) for _ in range(source.randint(1, 4))]
            if len(read) + len(tokens) > model.n_ctx:
                with pytest.raises(ContextFullError):
                    model.eval(tokens)
                continue
            n = source.randint(1, len(tokens))
            rows = model.eval(tokens, n)
            read += tokens
            assert rows.shape == (n, N)
            fresh.rewind(fresh.n_past)
            assert np.array_equal(rows, fresh.eval(read, n))
        assert model.n_past == len(read)


def test_all_of_a_row_or_its_best_tokens() -> None:
    whole, best = remote()[0].eval([1, 2])[0].copy(), remote(k=5)[0].eval([1, 2])[0]
    assert np.isfinite(whole).all()
    assert np.isfinite(best).sum() == 5
    assert np.array_equal(best[np.isfinite(best)], whole[np.isfinite(best)])
    assert whole[np.isfinite(best)].min() >= whole[np.isneginf(best)].max()
    assert [remote(k)[0].is_partial for k in (5, N, 10 * N)] == [True, False, False]


def test_of_a_row_more_is_told_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "WIDER", 3)
    tokens = [1, 2, 3, 4, 5]
    whole = remote()[0].eval(tokens, 3).copy()
    model, server = remote(k=5)
    rows = model.eval(tokens, 3)
    assert model.widen(1)
    assert server.asked[-1] == (tokens[:4], 15)
    assert np.isfinite(rows).sum(axis=-1).tolist() == [5, 15, 5]
    monkeypatch.setattr(model_module, "WIDER", N)
    assert model.widen(1)
    assert np.array_equal(rows[1], whole[1])
    count = len(server.asked)
    assert not model.widen(1), "all of it is told"
    assert len(server.asked) == count
    model.eval([6])
    assert model.widen(0), "a new row is narrow again"
    for row in (1, -1):
        with pytest.raises(EngineError, match="no row"):
            model.widen(row)


def test_no_more_of_a_row_is_told_than_the_server_gives() -> None:
    model, server = remote(k=5)
    server.offer = replace(server.offer, most_logprobs=7)
    row = model.eval([1, 2])[0]
    assert model.widen(0)
    assert np.isfinite(row).sum() == 7
    assert not model.widen(0)
    best = RemoteModel(server, VOCAB, 100, 5, "top-k")
    best.eval([1, 2])
    assert not best.widen(0), "those alone are wanted"


@pytest.mark.parametrize("told", [[], [Known(np.array([N]), np.zeros(1, np.float32))]])
def test_a_wider_row_is_not_taken_on_trust(told: list[Known]) -> None:
    model, server = remote(k=5)
    row = model.eval([1, 2])[0]
    before = row.copy()
    server.next = [told]
    with pytest.raises(RemoteError):
        model.widen(0)
    assert np.array_equal(row, before)


def test_a_token_is_looked_up_in_the_row_that_left_it_out() -> None:
    tokens = [1, 2, 3, 4, 5]
    whole = remote()[0].eval(tokens, 3).copy()
    model, server = remote(k=5)
    model.eval(tokens, 3)
    for row in range(3):
        assert model.look_up(row, 7) == pytest.approx(whole[row, 7], abs=1e-5)
    assert server.asked[-1] == (tokens, 7)
    assert server.asked[-3] == (tokens[:3], 7)
    for row, token in ((3, 0), (-1, 0), (0, N), (0, -1)):
        with pytest.raises(EngineError, match=r"no (row|token)"):
            model.look_up(row, token)


def test_rows_that_would_make_a_huge_answer_are_asked_for_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = [1, 2, 3, 4, 5, 6]
    wanted = remote()[0].eval(tokens, 5).copy()
    monkeypatch.setattr(model_module, "MOST_TOLD", 2 * N + 1)
    model, server = remote()
    assert np.array_equal(model.eval(tokens, 5), wanted)
    assert [asked for asked, _ in server.asked] == [tokens[:3], tokens[:5], tokens]
    monkeypatch.setattr(model_module, "MOST_TOLD", 1)
    model.rewind(6)
    server.next = [[ROW], RemoteError("s", "it fails")]
    with pytest.raises(RemoteError):
        model.eval(tokens, 5)
    assert model.n_past == 0
    assert np.array_equal(model.eval(tokens, 5), wanted)


ROW = known(np.arange(N, dtype=np.float32), N)
ERRORS = [
    RemoteError("s", "it fails"),
    KeyboardInterrupt(),
    [],
    [ROW, ROW],
    [Known(np.array([N]), np.array([-1.0], np.float32))],
    [Known(np.array([-1]), np.array([-1.0], np.float32))],
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_an_error_leaves_what_was_read(error: Any) -> None:
    model, server = remote()
    model.eval([1, 2])
    server.next = [error]
    with pytest.raises((RemoteError, KeyboardInterrupt)):
        model.eval([3])
    assert model.n_past == 2
    after = model.eval([4]).copy()
    assert np.array_equal(after, remote()[0].eval([1, 2, 4]))


@pytest.mark.parametrize("tokens", [[], [-1], [N], [1, N]])
def test_impossible_tokens_are_never_sent(tokens: list[int]) -> None:
    model, server = remote()
    with pytest.raises(EngineError):
        model.eval(tokens)
    assert (model.n_past, server.asked) == (0, [])


@pytest.mark.parametrize("rows", [0, -1, 3])
def test_an_impossible_number_of_rows(rows: int) -> None:
    model, server = remote()
    with pytest.raises(EngineError, match="rows asked of 2 tokens"):
        model.eval([1, 2], rows)
    assert (model.n_past, server.asked) == (0, [])


def test_a_full_context() -> None:
    model, server = remote(n_ctx=3)
    model.eval([1, 2])
    with pytest.raises(ContextFullError, match="do not fit the 3 of the server's context"):
        model.eval([3, 4])
    assert model.n_past == 2
    model.eval([3])
    assert len(server.asked) == 2


@pytest.mark.parametrize("n", [-1, 3])
def test_it_cannot_forget_what_it_has_not_read(n: int) -> None:
    model, _ = remote()
    model.eval([1, 2])
    with pytest.raises(EngineError, match="cannot forget"):
        model.rewind(n)
    assert model.n_past == 2
    model.rewind(0)
    assert model.n_past == 2


def test_closing_twice_is_fine_and_a_closed_model_does_nothing() -> None:
    model, server = remote()
    model.close()
    model.close()
    assert server.closed == 2
    with pytest.raises(EngineError, match="closed; load the trio again"):
        model.eval([1])
    assert server.asked == []


# Its state


def test_a_state_is_put_back() -> None:
    model, other = remote()[0], remote()[0]
    wanted = model.eval([5, 6, 7]).copy()
    model.rewind(1)
    other.eval([9])
    assert len(model.state()) == model.state_size()
    other.adopt([5, 6], model.state())
    assert other.n_past == 2
    assert np.array_equal(other.eval([7]), wanted)
    assert model.origin() == other.origin()


@pytest.mark.parametrize("state", [b"", b"\0" * 8, b"\5\0\0\0\6\0\0"])
def test_a_state_of_other_tokens_is_refused_and_nothing_is_read(state: bytes) -> None:
    model, _ = remote()
    model.eval([1])
    with pytest.raises(EngineError, match="of other tokens"):
        model.adopt([5, 6], memoryview(state))
    assert model.n_past == 0


def test_a_state_that_is_too_long_is_refused_and_nothing_is_read() -> None:
    long = remote()[0]
    long.eval([1, 2, 3])
    short, _ = remote(n_ctx=2)
    with pytest.raises(ContextFullError):
        short.adopt([1, 2, 3], long.state())
    assert short.n_past == 0


# One that draws


def test_a_row_of_one_that_draws_says_only_which_token() -> None:
    model, server = remote(k=0)
    model.draws = Draws(logit_bias={7: 2.0, 9: -1.0})
    row = model.eval([1, 2])
    token = int(row.argmax())
    assert row[0, token] == 0.0
    assert np.isneginf(np.delete(row[0], token)).all()
    drawn = model.draw([token], {7: 1.5, 8: 3.0})
    assert drawn.token in range(N)
    assert server.asked[1] == ([1, 2, token], {7: 3.5, 9: -1.0, 8: 3.0})
    assert model.n_past == 3


def test_no_bias_is_larger_than_the_server_takes() -> None:
    model, server = remote(k=0)
    server.offer = replace(server.offer, largest_bias=100.0)
    model.draws = Draws(logit_bias={7: 60.0, 8: -1e6})
    model.draw([1], {7: 60.0, 9: 5.0})
    assert server.asked == [([1], {7: 100.0, 8: -100.0, 9: 5.0})]


def test_one_that_draws_gives_one_row() -> None:
    model, server = remote(k=0)
    with pytest.raises(EngineError, match="one row at a time"):
        model.eval([1, 2], 2)
    assert (model.n_past, server.asked) == (0, [])


@pytest.mark.parametrize("drawn", [Drawn(-1), Drawn(N), RemoteError("s", "x"), KeyboardInterrupt()])
def test_a_draw_that_fails_leaves_what_was_read(drawn: Any) -> None:
    model, server = remote(k=0)
    model.eval([1])
    server.next = [drawn]
    with pytest.raises((RemoteError, KeyboardInterrupt)):
        model.eval([2])
    assert model.n_past == 1
    model.eval([3])
    assert server.asked[-1][0] == [1, 3]
