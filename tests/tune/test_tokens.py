"""Sequences of tokens in flat arrays."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edgeproxy.tune.tokens import Collector, Tokens, TokenSet


def tokens(*ids: int, reply: int = 0) -> Tokens:
    """A sequence whose last `reply` tokens are predicted."""
    is_reply = [n >= len(ids) - reply for n in range(len(ids))]
    return Tokens(np.array(ids, dtype=np.int32), np.array(is_reply, dtype=np.bool_))


def test_a_set_gives_back_what_was_put_in() -> None:
    given = [tokens(1, 2, 3, reply=1), tokens(4, 5, reply=2), tokens(2**31 - 1, reply=1)]
    found = TokenSet.of(given)
    assert len(found) == 3
    for one, other in zip(found, given, strict=True):
        assert one.ids.dtype == np.int32
        assert one.is_reply.dtype == np.bool_
        assert one.ids.tolist() == other.ids.tolist()
        assert one.is_reply.tolist() == other.is_reply.tolist()
    assert found[-1].ids.tolist() == [2**31 - 1]
    assert (found.n_tokens, found.n_reply_tokens) == (6, 4)
    assert found.lengths.tolist() == [3, 2, 1]
    with pytest.raises(IndexError):
        found[3]


def test_some_of_a_set_share_its_tokens() -> None:
    found = TokenSet.of([tokens(n, n, reply=1) for n in range(10)])
    some = found.chosen([7, 0])
    assert [list(one.ids) for one in some] == [[7, 7], [0, 0]]
    assert (some.n_tokens, some.n_reply_tokens) == (4, 2)
    assert np.shares_memory(some[0].ids, found[7].ids)
    assert [one.ids[0] for one in found[2:8:3]] == [2, 5]
    assert [one.ids[0] for one in some[:1]] == [7]
    assert len(found.chosen([])) == 0


def test_a_set_of_none_is_empty() -> None:
    found = TokenSet.of([])
    assert (len(found), found.n_tokens, found.n_reply_tokens) == (0, 0, 0)


def test_a_token_takes_five_bytes_and_little_more() -> None:
    one = tokens(*range(100), reply=50)
    tracemalloc.start()
    try:
        collected = Collector()
        for _ in range(10_000):
            collected.add(one)
        found = collected.token_set()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert found.n_tokens == 1_000_000
    assert held < 6_500_000
