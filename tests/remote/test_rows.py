"""Rows out of answers that are not taken on trust, and how a row becomes one of all tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import RemoteError
from edgeproxy.remote.rows import check_bytes, known_tokens, member, token_id
from edgeproxy.remote.spent import Spent
from edgeproxy.remote.traffic import Traffic
from tests.helpers.fakes import fake_vocab, word_vocab

WHO = "http://127.0.0.1:1"


def test_a_row_is_its_tokens_and_log_probabilities() -> None:
    known = known_tokens([5, 2], [-0.5, -1], WHO)
    assert known.tokens.tolist() == [5, 2]
    assert known.tokens.dtype == np.int64
    assert known.logprobs.tolist() == [-0.5, -1.0]
    assert known.logprobs.dtype == np.float32


def test_of_a_token_that_is_told_twice_the_former_counts() -> None:
    known = known_tokens([5, 5], [-0.5, -9.0], WHO)
    assert known.tokens.tolist() == [5]
    assert known.logprobs.tolist() == [-0.5]


@pytest.mark.parametrize("nothing", [None, float("-inf"), -3.4028234663852886e38, -(10**400)])
def test_what_has_no_probability_is_not_told(nothing: Any) -> None:
    assert known_tokens([5, 6], [nothing, -0.1], WHO).tokens.tolist() == [6]
    with pytest.raises(RemoteError, match="a row without any token"):
        known_tokens([5], [nothing], WHO)


@pytest.mark.parametrize(
    "logprob", [True, False, "0", [], {}, float("nan"), float("inf"), 0.1, 1, 10**400, 1e300]
)
def test_what_is_no_log_probability_is_an_error(logprob: Any) -> None:
    with pytest.raises(RemoteError, match="as a log-probability") as failed:
        known_tokens([5], [logprob], WHO)
    assert len(str(failed.value)) < 200


@pytest.mark.parametrize("token", [True, False, None, "5", 5.0, [], -1, 2**31, 10**30, -(10**30)])
def test_what_is_no_token_is_an_error(token: Any) -> None:
    with pytest.raises(RemoteError, match="token"):
        known_tokens([token], [-1.0], WHO)
    with pytest.raises(RemoteError, match="token"):
        token_id(token, WHO)


def test_a_log_probability_may_be_rounded_above_0() -> None:
    assert len(known_tokens([5], [5e-4], WHO).tokens) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.lists(st.tuples(ANYTHING, ANYTHING), max_size=5))
def test_whatever_a_server_says_is_a_row_or_its_error(told: list[tuple[Any, Any]]) -> None:
    try:
        known = known_tokens([t for t, _ in told], [p for _, p in told], WHO)
    except RemoteError:
        return
    assert len(known.tokens) == len(set(known.tokens.tolist())) > 0
    assert np.isfinite(known.logprobs).all()
    assert (known.logprobs <= 1e-3).all()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({}, int),
        ({"a": True}, int),
        ({"a": 1.0}, int),
        ({"a": None}, dict),
        ([], int),
        (None, int),
        ("a", str),
        ({"a": "x"}, list),
    ],
)
def test_a_member_that_is_not_there_or_of_another_kind(answer: Any, kind: type) -> None:
    with pytest.raises(RemoteError, match="answered without 'a'"):
        member(answer, "a", kind, WHO)
    assert member({"a": 1}, "a", int, WHO) == 1


def test_bytes_of_another_model_are_noticed_among_the_likeliest() -> None:
    vocab = word_vocab("one", " two", "three", "four", "five")
    check_bytes([(0, b"one"), (1, b"two"), (2, b"three")], vocab, WHO)  # spaces differ by server
    with pytest.raises(RemoteError, match=r"token 1 is b'zwei'.*another model now"):
        check_bytes([(0, b"one"), (1, b"zwei")], vocab, WHO)
    with pytest.raises(RemoteError, match="token 5, and the tokenizer given for it has 5 tokens"):
        check_bytes([(5, b"six")], vocab, WHO)
    check_bytes([*((0, b"one"),) * 4, (1, b"zwei")], vocab, WHO)  # four are enough


def test_bytes_of_tokens_that_are_no_text_are_not_compared() -> None:
    vocab = fake_vocab()
    check_bytes([(256, b""), (256, b"</s>"), (97, b"")], vocab, WHO)


# What it cost


def test_what_was_spent_adds_up_and_can_be_taken_apart() -> None:
    spent = Spent(price_in=2.0, price_out=10.0)
    spent.add(500_000, 100, 1)
    before = spent.since(Spent())
    assert before == spent
    assert before.money == pytest.approx(1.00001)
    spent.add(1_000_000, 0, 200_000)
    spent.count(Traffic(requests=2, retries=1, bytes_sent=30, bytes_received=40, seconds=0.5))
    after = spent.since(before)
    assert (after.tokens_in, after.tokens_cached, after.tokens_out) == (1_000_000, 0, 200_000)
    assert (after.requests, after.retries, after.bytes_sent, after.bytes_received) == (2, 1, 30, 40)
    assert after.seconds == 0.5
    assert after.money == pytest.approx(4.0)
    assert spent.since(spent) == Spent(price_in=2.0, price_out=10.0)


def test_numbers_of_tokens_that_cannot_be_are_cut() -> None:
    spent = Spent(price_in=1.0)
    spent.add(10**400, -5, -(10**400))
    assert spent.money < 1e6
    assert spent.tokens_cached == spent.tokens_out == 0
