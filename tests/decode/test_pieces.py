"""Replies as pieces: how they end, what they show, and how sure the model was."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.model import Logits
from edgeproxy.decode.pieces import Piece, complete, log_probability
from edgeproxy.errors import ContextFullError, LogitsError, UsageError
from tests.helpers.fakes import END, TURN_END, FakeModel, Fault, random_trio, saying


def greedy(row: Logits) -> int:
    return int(row.argmax())


def reply_of(model: Any, prompt: str | Sequence[int] = "Q:", **options: Any) -> list[Piece]:
    tokens = list(prompt.encode()) if isinstance(prompt, str) else prompt
    settings = {"max_tokens": 50, "endings": frozenset((END, TURN_END)), **options}
    return list(complete(tokens, model, model.vocab, greedy, **settings))


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_reply_ends_where_the_model_ends_it() -> None:
    pieces = reply_of(saying({"Q:": "Ulan Bator"}))
    assert text_of(pieces) == "Ulan Bator"
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].token == END
    assert [piece.token for piece in pieces[:-1]] == list(b"Ulan Bator")


def test_only_the_last_piece_has_a_finish_reason() -> None:
    pieces = reply_of(saying({"Q:": "one two"}))
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


@pytest.mark.parametrize("ending", [END, TURN_END])
def test_any_of_the_endings_ends_it(ending: int) -> None:
    model = FakeModel(lambda history: np.eye(260, dtype=np.float32)[ending])
    (piece,) = reply_of(model)
    assert (piece.text, piece.token, piece.finish_reason) == ("", ending, "stop")


def test_a_reply_that_is_whole_ends_with_its_last_token() -> None:
    for length in (1, 3):
        left = iter(range(length - 1, -1, -1))
        pieces = reply_of(saying({"Q:": "abcdef"}), is_over=lambda left=left: not next(left))
        assert (text_of(pieces), len(pieces)) == ("abcdef"[:length], length)
        assert pieces[-1].finish_reason == "stop"


def test_max_tokens_ends_it_with_length() -> None:
    pieces = reply_of(saying({"Q:": "abcdef"}), max_tokens=3)
    assert (text_of(pieces), len(pieces)) == ("abc", 3)
    assert pieces[-1].finish_reason == "length"


def test_a_reply_of_exactly_max_tokens_is_cut_by_length() -> None:
    pieces = reply_of(saying({"Q:": "abc"}), max_tokens=3)
    assert (text_of(pieces), pieces[-1].finish_reason) == ("abc", "length")
    pieces = reply_of(saying({"Q:": "abc"}), max_tokens=4)
    assert (text_of(pieces), pieces[-1].finish_reason) == ("abc", "stop")


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_max_tokens_below_one_is_refused_before_anything_is_read(max_tokens: int) -> None:
    model = saying({})
    with pytest.raises(UsageError, match=f"not {max_tokens}"):
        reply_of(model, max_tokens=max_tokens)
    assert model.evals == []


def test_a_full_context_ends_it_with_context() -> None:
    pieces = reply_of(saying({"Q:": "abcdef"}, n_ctx=4))
    assert text_of(pieces) == "abc"
    assert pieces[-1] == Piece("", None, None, "context")


def test_a_prompt_that_does_not_fit_is_an_error() -> None:
    model = saying({}, n_ctx=3)
    with pytest.raises(ContextFullError):
        reply_of(model, "long prompt")
    assert model.n_past == 0


def test_cancelling_between_tokens_ends_it_within_a_token() -> None:
    cancel = threading.Event()
    model = saying({"Q:": "abcdef"})
    pieces = []
    for piece in complete(
        list(b"Q:"),
        model,
        model.vocab,
        greedy,
        max_tokens=50,
        endings=frozenset((END,)),
        cancel=cancel,
    ):
        pieces.append(piece)
        if len(pieces) == 2:
            cancel.set()
    assert text_of(pieces) == "ab"
    assert pieces[-1] == Piece("", None, None, "cancelled")
    assert len(pieces) == 3


def test_cancelling_while_the_prompt_is_read_leaves_the_model_where_it_was() -> None:
    cancel = threading.Event()
    cancel.set()
    model = FakeModel(cancel=cancel)
    assert reply_of(model, cancel=cancel) == [Piece("", None, None, "cancelled")]
    assert model.n_past == 0


def test_half_a_character_is_shown_when_it_is_whole() -> None:
    pieces = reply_of(saying({"Q:": "5 €!"}))
    assert [piece.text for piece in pieces] == ["5", " ", "", "", "€", "!", ""]


def test_half_a_character_is_left_out_of_a_reply_that_is_cut() -> None:
    pieces = reply_of(saying({"Q:": "1 €"}), max_tokens=4)
    assert text_of(pieces) == "1 "
    assert pieces[-1].finish_reason == "length"


def test_half_a_character_is_left_out_where_the_context_is_full() -> None:
    pieces = reply_of(saying({"Q:": "€"}, n_ctx=3))
    assert (text_of(pieces), pieces[-1].finish_reason) == ("", "context")


def test_half_a_character_that_the_model_left_so_is_shown_as_damaged() -> None:
    rows = iter([0xE2, 0x82, END])
    model = FakeModel(lambda _: np.eye(260, dtype=np.float32)[next(rows)])
    assert text_of(reply_of(model)) == "\ufffd"


def test_a_stop_string_ends_it_and_is_left_out() -> None:
    pieces = reply_of(saying({"Q:": "one\nUser: two"}), stops=["\nUser:"])
    assert text_of(pieces) == "one"
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].token == ord(":")


def test_the_beginning_of_a_stop_string_is_given_back_at_the_end() -> None:
    assert text_of(reply_of(saying({"Q:": "one\nUs"}), stops=["\nUser:"])) == "one\nUs"
    assert text_of(reply_of(saying({"Q:": "one\nUs"}), stops=["\nUser:"], max_tokens=5)) == "one\nU"
    full = reply_of(saying({"Q:": "one\nUsers"}, n_ctx=6), stops=["\nUser:"])
    assert text_of(full) == "one\nU"
    assert full[-1].finish_reason == "context"


def test_special_tokens_in_the_middle_are_not_shown() -> None:
    model = FakeModel(
        lambda history: np.eye(260, dtype=np.float32)[257 if len(history) == 2 else 97]
    )
    assert text_of(reply_of(model, max_tokens=3)) == "aa"


def test_the_logprob_is_the_log_softmax_of_the_fused_row() -> None:
    trio = random_trio(plausibility=0.1)
    pieces = reply_of(trio, [1, 2], max_tokens=5)
    again = random_trio(plausibility=0.1)
    tokens: list[int] = [1, 2]
    for piece in pieces:
        row = again.eval(tokens)[-1].astype(np.float64)
        assert piece.token is not None
        assert piece.logprob is not None
        assert piece.logprob == pytest.approx(
            row[piece.token] - np.log(np.exp(row[np.isfinite(row)]).sum()), abs=1e-5
        )
        assert piece.logprob <= 0.0
        tokens = [piece.token]


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=9), st.integers(0, 100))
def test_log_probability_is_log_softmax(logits: list[float], which: int) -> None:
    row, token = np.array(logits, np.float32), which % len(logits)
    wide = row.astype(np.float64)
    wanted = wide[token] - np.log(np.exp(wide - wide.max()).sum()) - wide.max()
    assert log_probability(row, token) == pytest.approx(wanted, abs=1e-4)


def test_masked_tokens_count_for_nothing() -> None:
    row = np.array([1.0, -np.inf, 1.0], np.float32)
    assert log_probability(row, 0) == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_consumer_that_stops_early_leaves_the_model_sound(taken: int) -> None:
    model = saying({"Q:": "abcdef"})
    pieces = complete(
        list(b"Q:"), model, model.vocab, greedy, max_tokens=50, endings=frozenset((END,))
    )
    for _ in range(taken):
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert model.history == list(b"Q:abcdef"[: 2 + taken - 1] if taken else b"")
    model.rewind(model.n_past)
    assert text_of(reply_of(model)) == "abcdef"


def test_an_error_in_the_middle_reaches_the_caller_and_leaves_the_model_sound() -> None:
    model = saying({"Q:": "abcdef"})
    model.fail_on(3, Fault(LogitsError("not numbers")))
    with pytest.raises(LogitsError):
        reply_of(model)
    assert model.history == list(b"Q:a")


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="stop string"):
        reply_of(saying({}), stops=[""])


def test_pieces_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Piece("a", 1, 0.0).text = "b"  # type: ignore[misc]
