"""How likely the tokens of a given text are: told before a reply, or without one."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.align import align
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.scoring import AT_ONCE, TokenScore
from edgeproxy.decode.steering import EXPERT_ALONE, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import BusyError, Cancelled, ContextFullError, PromptError, UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache.shelf import Shelf
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, Speaker, TrioSpeaker
from edgeproxy.session.turn import Turn
from edgeproxy.worker.isolated import IsolatedSession
from tests.helpers.fake_worker import fake_load, isolated
from tests.helpers.fakes import (
    BOS,
    END,
    FakeModel,
    fake_vocab,
    random_model,
    random_trio,
    saying,
    shuffled,
)
from tests.helpers.served_trios import elsewhere, served_file, write_trio
from tests.helpers.tokenizing import LARGE, PIECES, unigram_vocab

PLAIN, CHATML = FORMATS["plain"], FORMATS["chatml"]
TEXT = "The capital of Peru is Lima, and that of Chad is N'Djamena."


def speaker_of(trio: Trio, vocabs: Any = None, **more: Any) -> TrioSpeaker:
    vocabs = vocabs or (trio.vocab,) * 3
    ends = trio.vocab.end_of_generation
    formats = PLAIN, CHATML, PLAIN
    return TrioSpeaker(trio, formats, vocabs, ends, drafter=Drafter(trio, "off"), **more)


def trio_of(models: Sequence[FakeModel]) -> Trio:
    base, expert, anti_expert = models
    return Trio(base, expert, anti_expert)


def scored(speaker: Speaker[Any], text: Any, best: int = 0, **how: Any) -> list[TokenScore]:
    turn = speaker.complete(text, max_tokens=0, echo=best, **how)
    (piece,) = turn
    assert (piece.text, piece.token, piece.finish_reason) == ("", None, "length")
    assert turn.text == ""
    assert turn.usage.completion == 0
    return list(turn.echo)


def softmax(row: Logits) -> Logits:
    wide = np.asarray(row, np.float64)
    return np.asarray(wide - np.log(np.exp(wide - wide.max()).sum()) - wide.max())


def plainly(trio: Trio, tokens: Sequence[int]) -> list[float]:
    """The same by one evaluation a token, with all that was read before."""
    return [float(softmax(trio.eval([a])[0])[b]) for a, b in pairwise(tokens)]


@pytest.mark.parametrize("text", ["ab", TEXT, "x" * (2 * AT_ONCE + 2)])
def test_figures_are_those_of_one_evaluation_a_token(text: str) -> None:
    trio = random_trio(0.7)
    found = scored(speaker_of(trio), text)
    assert [each.token for each in found] == list(text.encode())
    assert b"".join(each.data for each in found) == text.encode()
    assert found[0].logprob is None
    assert [each.logprob for each in found[1:]] == pytest.approx(
        plainly(random_trio(0.7), list(text.encode())), abs=1e-4
    )
    assert all(each.best == () for each in found)
    # Nothing follows, so the last token is not read.
    assert trio.n_past == len(text) - 1


def test_the_likeliest_tokens_of_each_place() -> None:
    found = scored(speaker_of(random_trio()), TEXT, 3)
    assert found[0].best == ()
    trio = random_trio()
    for before, each in zip(TEXT.encode(), found[1:], strict=False):
        row = softmax(trio.eval([before])[0])
        order = np.argsort(-row)[:3].tolist()
        assert [likely.token for likely in each.best] == order
        assert [likely.logprob for likely in each.best] == pytest.approx(row[order], abs=1e-4)
        assert [likely.data for likely in each.best] == [trio.vocab.piece(t) for t in order]
        # By the same arithmetic, so that whoever compares them finds the likeliest one.
        same = [likely.logprob for likely in each.best if likely.token == each.token]
        assert same in ([], [each.logprob])


def test_more_rivals_than_there_are_tokens() -> None:
    count = len(fake_vocab())
    found = scored(speaker_of(random_trio()), "abc", count)
    assert len(found[1].best) == count
    total = sum(math.exp(likely.logprob) for likely in found[1].best)
    assert total == pytest.approx(1.0)
    with pytest.raises(UsageError, match="echo"):
        speaker_of(random_trio()).complete("abc", echo=count + 1)


def test_one_token_needs_no_evaluation() -> None:
    trio = random_trio()
    assert scored(speaker_of(trio), "a", 2) == [TokenScore(97, b"a", None)]
    assert trio.n_past == 0


def test_the_reply_is_the_same_and_is_told_too() -> None:
    plain = speaker_of(random_trio()).complete(TEXT, max_tokens=5)
    said = list(plain)
    trio = random_trio()
    turn = speaker_of(trio).complete(TEXT, max_tokens=5, echo=2)
    assert list(turn) == said
    assert turn.usage._replace(kept=0) == plain.usage._replace(kept=0)
    assert [each.token for each in turn.scores] == [piece.token for piece in said]
    assert [each.logprob for each in turn.scores] == pytest.approx([p.logprob for p in said])
    assert [len(each.best) for each in turn.scores] == [2] * 5
    assert len(turn.echo) == len(TEXT)
    for model in trio.models:  # all of it was read once
        assert isinstance(model, FakeModel)
        assert model.n_evaluated == len(TEXT) + 4


def test_nothing_is_told_unless_asked_for() -> None:
    turn = speaker_of(random_trio()).complete(TEXT, max_tokens=2)
    list(turn)
    assert (turn.echo, turn.scores) == ((), ())


def test_what_was_read_is_scored_all_the_same() -> None:
    speaker = speaker_of(random_trio())
    first = scored(speaker, TEXT)
    assert scored(speaker, TEXT) == first
    list(speaker.complete(TEXT, max_tokens=3))
    assert scored(speaker, TEXT) == first
    turn = speaker.complete(TEXT, max_tokens=2, echo=0)
    list(turn)
    assert list(turn.echo) == first


def test_the_mask_is_for_what_is_drawn() -> None:
    steering = Steering(plausibility=0.3)
    trio = random_trio()
    trio.steering = steering
    speaker = speaker_of(trio)
    assert scored(speaker, TEXT) == scored(speaker_of(random_trio()), TEXT)
    turn = speaker.complete(TEXT, max_tokens=4, echo=260)
    plain = speaker.complete(TEXT, max_tokens=4)
    assert [piece.token for piece in turn] == [piece.token for piece in plain]
    assert all(len(each.best) == 260 for each in turn.echo[1:])
    assert all(len(each.best) < 200 for each in turn.scores), "dropped tokens are none of them"
    assert speaker.steering == steering


@pytest.mark.parametrize("how", [{"alpha": 0.0}, {"alpha": -1.0}, {"steering": Steering(2.0)}])
def test_it_is_steered_as_asked(how: dict[str, Any]) -> None:
    steering = how.get("steering") or Steering(how["alpha"])
    found = scored(speaker_of(random_trio()), TEXT, **how)
    trio = random_trio()
    trio.steering = steering
    wanted = plainly(trio, list(TEXT.encode()))
    assert [each.logprob for each in found[1:]] == pytest.approx(wanted, abs=1e-4)


def test_a_grammar_holds_the_reply_alone() -> None:
    turn = speaker_of(random_trio()).complete(
        TEXT, grammar=Grammar.grammar('root ::= "yes"'), echo=0, max_tokens=9
    )
    assert "".join(piece.text for piece in turn) == "yes"
    assert list(turn.echo) == scored(speaker_of(random_trio()), TEXT)


# Who answers


def test_each_role_begins_with_its_own_beginning_of_text() -> None:
    with_it, without_it = fake_vocab(add_bos=True), fake_vocab()
    trio = random_trio()
    found = scored(speaker_of(trio, (without_it, with_it, without_it)), "abc")
    assert [each.token for each in found] == [97, 98, 99]
    read = [model.history for model in trio.models if isinstance(model, FakeModel)]
    assert read == [[97, 98], [BOS, 97, 98], [97, 98]]


def test_a_beginning_of_text_is_none_of_the_text() -> None:
    vocab = fake_vocab(add_bos=True)
    models = [random_model(seed, vocab=vocab) for seed in (1, 2, 3)]
    found = scored(speaker_of(trio_of(models)), "abc")
    assert [each.token for each in found] == [97, 98, 99]
    assert found[0].logprob is None
    turn = speaker_of(trio_of(models)).complete("abc", max_tokens=0, echo=0)
    list(turn)
    assert turn.usage.prompt == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda model: SoloSpeaker(model, CHATML),
        lambda model: AloneSpeaker("expert", EXPERT_ALONE, model, CHATML),
    ],
)
def test_one_model_alone(make: Callable[[FakeModel], Speaker[Any]]) -> None:
    model, plain = random_model(5), random_model(5)
    speaker = make(model)
    for _ in range(2):
        found = scored(speaker, TEXT, 1)
        rows = [softmax(plain.eval([each])[0]) for each in TEXT.encode()[:-1]]
        wanted = [float(row[t]) for row, t in zip(rows, TEXT.encode()[1:], strict=True)]
        assert [each.logprob for each in found[1:]] == pytest.approx(wanted, abs=1e-4)
        plain.rewind(plain.n_past)
    before = model.n_evaluated
    turn = speaker.complete(TEXT, max_tokens=3, echo=0)
    assert list(turn) == list(make(random_model(5)).complete(TEXT, max_tokens=3))
    assert model.n_evaluated - before <= len(TEXT) + 2  # nothing was read twice
    assert len(turn.scores) == 3


def test_the_expert_alone_answers_for_a_trio() -> None:
    expert = random_model(7)
    speaker = speaker_of(
        random_trio(), expert_alone=lambda: AloneSpeaker("expert", EXPERT_ALONE, expert, PLAIN)
    )
    found = scored(speaker, TEXT, steering=EXPERT_ALONE)
    assert found == scored(SoloSpeaker(random_model(7), PLAIN), TEXT)
    with pytest.raises(UsageError, match="give the text itself"):
        speaker.complete([97, 98], steering=EXPERT_ALONE)


def test_models_that_cannot_rewind() -> None:
    models = [FakeModel(can_rewind=False) for _ in range(3)]
    speaker = speaker_of(trio_of(models))
    first = scored(speaker, TEXT)
    assert scored(speaker, TEXT) == first
    turn = speaker.complete(TEXT, max_tokens=3, echo=0)
    assert len(list(turn)) == 3
    assert list(turn.echo) == first


# A pair with a tokenizer of its own


def pair_of_pieces(own: Vocab = PIECES, steering: Steering | None = None) -> TrioSpeaker:
    pair = align(random_model(2, vocab=own), random_model(3, vocab=own), LARGE)
    trio = Trio(random_model(1, vocab=LARGE), pair.expert, pair.anti_expert, steering or Steering())
    assert trio.is_stepwise
    return speaker_of(trio, (LARGE, own, own))


def test_a_pair_with_a_tokenizer_of_its_own_says_exactly_these_tokens() -> None:
    text = "hello there, the other is 2024 and"
    speaker = pair_of_pieces()
    found = scored(speaker, text, 2)
    tokens = LARGE.encode(text, first=True)
    assert [each.token for each in found] == tokens
    trio = pair_of_pieces().trio
    wanted = []
    for before, token in pairwise(tokens):
        trio.eval([before])
        wanted.append(float(softmax(trio.exact_for(token))[token]))
    assert [each.logprob for each in found[1:]] == pytest.approx(wanted, abs=1e-4)
    turn = speaker.complete(text, max_tokens=3, echo=0)
    assert len(list(turn)) == 3
    assert [each.logprob for each in turn.echo[1:]] == pytest.approx(wanted, abs=1e-4)


def test_such_a_pair_reads_ids_of_the_bases_tokens() -> None:
    text = "hello there, the other"
    tokens = LARGE.encode(text, first=True)
    assert scored(pair_of_pieces(), tokens) == scored(pair_of_pieces(), text)
    own = replace(PIECES, bos=None, end_of_generation=frozenset())
    special = next(t for t, kind in enumerate(LARGE.kinds) if kind == Kind.CONTROL)
    assert len(scored(pair_of_pieces(), [special, *tokens])) == len(tokens) + 1
    with pytest.raises(PromptError, match="begin with another"):
        list(pair_of_pieces(own).complete([special, *tokens], max_tokens=0, echo=0))


@pytest.mark.parametrize("text", ["öab hello", "a ö", "éé", "ö", "hello ö a"])
def test_what_such_a_pair_cannot_spell(text: str) -> None:
    own = unigram_vocab({"a": -1.0, " a": -1.0, "hello": -1.0, " ": -3.0}, with_bytes=False)
    tokens = LARGE.encode(text, first=True)
    found = scored(pair_of_pieces(own), text)
    assert [each.token for each in found] == tokens
    assert all(each.logprob is not None and each.logprob <= 0.0 for each in found[1:])
    endless = replace(own, end_of_generation=frozenset())
    if text[0] in "öé":
        with pytest.raises(PromptError, match="begin with another"):
            list(pair_of_pieces(endless).complete(text, max_tokens=0, echo=0))


def test_a_pair_with_other_ids() -> None:
    vocab = fake_vocab(add_bos=True)
    own, _ = shuffled(vocab)
    pair = align(random_model(2, vocab=own), random_model(3, vocab=own), vocab)
    trio = Trio(random_model(1, vocab=vocab), pair.expert, pair.anti_expert)
    speaker = speaker_of(trio, (vocab, own, own))
    found = scored(speaker, TEXT)
    assert [each.token for each in found] == list(TEXT.encode())
    assert found == scored(speaker, list(TEXT.encode()))
    assert [each.logprob for each in scored(speaker, [BOS, *TEXT.encode()])[2:]] == [
        each.logprob for each in found[1:]
    ]


# Ids of tokens


def test_ids_are_read_as_the_text_that_they_are() -> None:
    assert scored(speaker_of(random_trio()), list(TEXT.encode()), 2) == scored(
        speaker_of(random_trio()), TEXT, 2
    )
    plain = speaker_of(random_trio()).complete(TEXT, max_tokens=4)
    turn = speaker_of(random_trio()).complete(tuple(TEXT.encode()), max_tokens=4)
    assert list(turn) == list(plain)
    assert turn.usage == plain.usage


def test_a_special_token_they_begin_with_is_the_beginning_of_text() -> None:
    vocab = fake_vocab(add_bos=True)
    models = [random_model(seed, vocab=vocab) for seed in (1, 2, 3)]
    found = scored(speaker_of(trio_of(models)), [BOS, 97, 98, 99])
    assert [each.token for each in found] == [BOS, 97, 98, 99]
    assert (found[0].data, found[0].logprob) == (b"", None)
    assert found[1].logprob is not None
    assert all(model.history == [BOS, 97, 98] for model in models)
    again = [random_model(seed, vocab=vocab) for seed in (1, 2, 3)]
    assert found[2:] == scored(speaker_of(trio_of(again)), "abc")[1:]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([97, END], "only the first token may be one"),
        ([97, 260], "there are 260"),
        ([10**9], "there are 260"),
    ],
)
def test_ids_that_cannot_be_read(tokens: list[int], said: str) -> None:
    turn = speaker_of(random_trio()).complete(tokens, echo=0)
    with pytest.raises(PromptError, match=said):
        list(turn)


@pytest.mark.parametrize("ids", [[], [-1], [True], [1.0], ["a"], [None], b"ab", 5, None, [[1]]])
def test_what_is_neither_text_nor_ids_is_refused_at_once(ids: Any) -> None:
    with pytest.raises(PromptError):
        speaker_of(random_trio()).complete(ids, echo=0)


def test_a_space_that_a_tokenizer_adds_is_none_of_the_text() -> None:
    vocab = fake_vocab()
    vocab = replace(vocab, tokenize=lambda text, first, special: list(b" " * first + text.encode()))
    vocab = replace(vocab, tokens=(*vocab.tokens[:32], b" ", *vocab.tokens[33:]))
    model = random_model(1, vocab=vocab)
    assert [each.data for each in scored(SoloSpeaker(model, PLAIN), "ab")] == [b"", b"a", b"b"]
    data = [each.data for each in scored(SoloSpeaker(model, PLAIN), [32, 97, 98])]
    assert data == [b" ", b"a", b"b"]


def test_tokenize_is_what_is_scored() -> None:
    vocab = fake_vocab(add_bos=True)
    assert SoloSpeaker(random_model(1, vocab=vocab), PLAIN).tokenize("<s>a") == list(b"<s>a")
    with pytest.raises(PromptError, match="is empty"):
        SoloSpeaker(random_model(1), PLAIN).tokenize("")


# What cannot be


@pytest.mark.parametrize(
    "how",
    [
        {"echo": -1},
        {"echo": 1.5},
        {"echo": True},
        {"echo": 0, "max_tokens": -1},
        {"echo": 0, "max_tokens": False},
        {"max_tokens": 0},
        {"echo": 0, "max_tokens": "0"},
    ],
)
def test_impossible_arguments(how: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        speaker_of(random_trio()).complete(TEXT, **how)


@pytest.mark.parametrize(("length", "max_tokens"), [(12, 0), (11, 1), (100, 0)])
def test_a_text_that_is_too_long_is_not_read_at_all(length: int, max_tokens: int) -> None:
    trio = random_trio(n_ctx=10)
    turn = speaker_of(trio).complete("x" * length, max_tokens=max_tokens, echo=0)
    with pytest.raises(ContextFullError, match="do not fit the context of 10"):
        list(turn)
    assert trio.n_past == 0
    assert turn.echo == ()


@pytest.mark.parametrize(("length", "max_tokens"), [(11, 0), (10, 1)])
def test_a_text_that_just_fits(length: int, max_tokens: int) -> None:
    turn = speaker_of(random_trio(n_ctx=10)).complete("x" * length, max_tokens=max_tokens, echo=0)
    list(turn)
    assert len(turn.echo) == length


def session_of(trio: Trio) -> Session:
    session = fake_load()
    session.speaker = speaker_of(trio, floor=session.speaker.floor)
    return session


def test_a_session_scores() -> None:
    session = session_of(random_trio())
    assert session.score(TEXT, 2) == scored(speaker_of(random_trio()), TEXT, 2)
    assert session.score(TEXT, alpha=0.5) == scored(speaker_of(random_trio(0.5)), TEXT)
    session.close()


def test_a_cancel_is_heard_while_a_text_is_scored() -> None:
    model = random_model(1)
    turns: list[Turn] = []

    def row(history: Sequence[int]) -> Any:
        if len(history) == 40:
            turns[0].cancel()
        return np.zeros(len(fake_vocab()), np.float32)

    trio = Trio(FakeModel(row), model, random_model(2))
    turn = speaker_of(trio).complete("x" * 200, max_tokens=0, echo=0)
    turns.append(turn)
    assert [piece.finish_reason for piece in turn] == ["cancelled"]
    assert 1 < len(turn.echo) < 200
    session = session_of(trio)
    turns[0] = session  # type: ignore[call-overload]
    with pytest.raises(Cancelled, match="not scored to its end"):
        session.score("x" * 200)
    assert len(session.score("xyz")) == 3, "others are asked afterwards as ever"


def test_one_at_a_time() -> None:
    session = session_of(random_trio())
    turn = session.complete(TEXT, max_tokens=3)
    next(turn)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            session.score(TEXT)
        except BusyError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert len(failed) == 1
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(session.score(TEXT, wait=True)))
    waiting.start()
    list(turn)
    waiting.join()
    assert len(found[0]) == len(TEXT)


def test_for_asyncio_it_is_a_turn_as_any() -> None:
    async def ask() -> Turn:
        turn = speaker_of(random_trio()).complete(TEXT, max_tokens=1, echo=1)
        assert [piece.token async for piece in turn] == [turn.scores[0].token]
        return turn

    assert list(asyncio.run(ask()).echo) == scored(speaker_of(random_trio()), TEXT, 1)


def test_progress_counts_the_whole_text() -> None:
    told: list[tuple[int, int]] = []
    speaker = speaker_of(random_trio())
    list(speaker.complete(TEXT, progress=lambda *each: told.append(each), echo=0, max_tokens=0))
    assert told[0] == (0, len(TEXT))


def test_conversations_on_the_shelf_stay_and_scored_texts_do_not_crowd_them_out() -> None:
    trio = random_trio()
    shelf = Shelf(1 << 20)
    speaker = speaker_of(trio, shelf=shelf)
    talk = "A conversation of more than thirty-two bytes, which goes on."
    list(speaker.complete(talk, max_tokens=2))
    for number in range(5):
        scored(speaker, f"{number} is a text of more than thirty-two bytes, and no one's.")
    assert len(shelf) == 1
    turn = speaker.complete(talk, max_tokens=1)
    list(turn)
    assert turn.usage.kept >= len(talk) - 1


def test_what_was_drafted_before_counts_for_no_text() -> None:
    trio = trio_of([saying({"ab": "abababab"}) for _ in range(3)])
    speaker = TrioSpeaker(
        trio, (PLAIN,) * 3, (trio.vocab,) * 3, frozenset((END,)), drafter=Drafter(trio, "expert")
    )
    turn = speaker.complete("ab", max_tokens=6)
    list(turn)
    assert turn.stats.drafted is not None
    assert turn.stats.drafted.tokens
    turn = speaker.complete("ab", max_tokens=0, echo=0)
    list(turn)
    assert turn.stats.drafted is not None
    assert turn.stats.drafted.tokens == 0


# In a process of its own


@pytest.fixture(scope="module")
def far() -> Iterator[IsolatedSession]:
    with isolated() as made:
        yield made


def test_an_isolated_session_says_the_same(far: IsolatedSession) -> None:
    here = fake_load()
    text = "Hello\n" * 100  # several messages
    assert far.score(text, 3) == here.score(text, 3)
    assert far.score(list(text.encode())) == here.score(text)
    ours, theirs = (each.complete("Hello\n", max_tokens=4, echo=2) for each in (here, far))
    assert list(ours) == list(theirs)
    assert (ours.echo, ours.scores) == (theirs.echo, theirs.scores)
    assert len(ours.scores) == 4
    assert far.speaker.tokenize("ab") == [97, 98]
    assert far.solo("base").complete("ab", max_tokens=0, echo=0).asked.echo == 0
    here.close()


def test_what_cannot_be_is_an_error_of_an_isolated_session_too(far: IsolatedSession) -> None:
    with pytest.raises(PromptError, match="only the first"):
        far.score([97, END])
    with pytest.raises(ContextFullError):
        far.score("x" * (far.n_ctx + 2))
    with pytest.raises(UsageError, match="echo"):
        far.complete("ab", echo=10**6)
    assert far.starts == 1


@pytest.mark.weights
def test_the_trio_that_ships_finds_the_right_capital_likelier(
    session: Session, factbook: Path
) -> None:
    text = "The capital of Mongolia is"

    def likely(scores: Sequence[TokenScore]) -> float:
        return sum(each.logprob or 0.0 for each in scores[len(session.score(text)) :])

    right, wrong = (f"{text} {capital}" for capital in ("Ulaanbaatar", "Lima"))
    found = session.score(right, 2)
    assert b"".join(each.data for each in found).decode() == right
    assert likely(found) > likely(session.score(wrong)) + 5.0
    assert found[-1].best[0].logprob >= found[-1].best[1].logprob
    base = session.score(right, alpha=0.0)
    alone = scored(session.solo("base"), right)
    near = pytest.approx([each.logprob for each in alone[1:]], abs=0.05)
    assert [each.logprob for each in base[1:]] == near
    with load(factbook, isolate=True) as there:
        far = there.score(right, 2)
    near = pytest.approx([each.logprob for each in found[1:]], abs=0.05)
    assert [each.logprob for each in far[1:]] == near


# With a base on a server


def test_a_base_on_a_server_that_draws_the_tokens_cannot_tell(tmp_path: Path) -> None:
    files = write_trio(tmp_path)
    with served_file(files["base"]) as served:
        with (
            elsewhere(files, served, way="bias") as session,
            pytest.raises(UsageError, match="choose the way rows"),
        ):
            session.score("the and in")
        with elsewhere(files, served, way="rows") as session:
            found = session.score("the and in", 2)
    assert found[0].logprob is None
    assert all(each.logprob is not None and each.logprob <= 0.0 for each in found[1:])
