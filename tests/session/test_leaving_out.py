"""Citing by leaving out: exact figures, whoever reads, and models that go on as if nothing was."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.align import align
from edgeproxy.core.cancel import Flag
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import EXPERT_ALONE, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.documents.prompting import with_passages
from edgeproxy.errors import BusyError, Cancelled, ContextFullError, EngineError, UsageError
from edgeproxy.prompts.formats import Message, encode
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.reading import Reading
from edgeproxy.session.speaker import SoloSpeaker, Speaker, TrioSpeaker
from edgeproxy.session.turn import Turn
from edgeproxy.trios.manifest import Readers
from tests.helpers.fakes import FakeModel, Fault, random_model
from tests.helpers.reading_fakes import (
    PASSAGES,
    PLAIN,
    QUESTION,
    REPLY,
    STEERING,
    TEXTS,
    VOCAB,
    Fakes,
    knowing,
    plain_drops,
)
from tests.helpers.tokenizing import LARGE, PIECES


def drops_of(turn: Turn) -> list[tuple[float, ...]]:
    return [each.drops for each in turn.cite()]


def assert_drops(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> None:
    np.testing.assert_allclose(np.array(found), np.array(wanted), atol=1e-3)


# Figures


@pytest.mark.parametrize("draft", ["off", "auto", "ngram"])
@pytest.mark.parametrize("readers", ["base", "expert", "all"])
def test_figures_are_those_of_whole_evaluations(readers: Readers, draft: Draft) -> None:
    turn = Fakes(readers, draft).ask()
    assert turn.text == REPLY
    found = turn.cite()
    assert_drops([each.drops for each in found], plain_drops(turn))
    assert [each.text for each in found] == ["It is the franc.", "And 19 é towns.", "Bye."]
    assert all(each.passages == tuple(f.passage for f in PASSAGES) for each in found)


def test_the_passage_that_a_part_needs_is_named() -> None:
    found = Fakes("all").ask().cite()
    assert [each.passage and each.passage.id for each in found] == [10, 12, None]


def test_what_a_reply_was_taken_from_is_told_by_its_words_alone() -> None:
    fakes = Fakes("all")
    turn = fakes.speaker.reply(QUESTION, max_tokens=80)
    assert turn.sources() == []
    list(turn)
    evaluated = fakes.evaluated
    found = [[source.passage.id for source in part.sources] for part in turn.sources()]
    # One short word proves nothing of a passage that shares no word with the question.
    assert found == [[], [12], []]
    assert fakes.evaluated == evaluated


def test_a_reply_without_documents_was_taken_from_none() -> None:
    parts = Fakes("nobody").ask().sources()
    assert [part.text for part in parts] == ["It is the franc.", "And 19 é towns.", "Bye."]
    assert not any(part.sources for part in parts)


def test_a_steering_asked_for_is_that_of_the_figures() -> None:
    fakes, steering = Fakes("base"), Steering(0.2)
    turn = fakes.ask(steering=steering)
    assert_drops(drops_of(turn), plain_drops(turn, steering=steering))
    fakes.speaker.steering = Steering(2.0)
    assert_drops(drops_of(turn), plain_drops(turn, steering=steering))


def test_neither_the_mask_nor_the_sampler_matters() -> None:
    fakes = Fakes("all")
    turn = fakes.ask(sampling=Sampling(temperature=0.5, top_k=1, min_p=0.9, seed=1))
    masked = fakes.ask(plausibility=0.9)
    assert turn.text == masked.text
    assert_drops(drops_of(turn), plain_drops(turn))
    assert_drops(drops_of(masked), drops_of(turn))


def test_where_the_expert_answers_alone_its_rows_are_scored() -> None:
    fakes = Fakes("expert")
    turn = fakes.ask(steering=EXPERT_ALONE)
    assert turn.text == REPLY
    assert_drops(drops_of(turn), plain_drops(turn, [knowing(2)], ["expert"]))
    assert fakes.evaluated == 0


@pytest.mark.parametrize("readers", ["base", "expert", "all"])
def test_a_model_alone(readers: Readers) -> None:
    reading = Reading(lambda _messages: PASSAGES, readers)
    model = FakeModel(knowing(1))
    speaker: Speaker[Any] = SoloSpeaker(model, PLAIN, reading=reading)
    turn = speaker.reply(QUESTION, max_tokens=80)
    list(turn)
    assert_drops(drops_of(turn), plain_drops(turn, [knowing(1)], ["base"]))
    if readers == "expert":  # the base reads none, so that no passage changes what it says
        assert not np.array(drops_of(turn)).any()


def test_models_that_cannot_rewind() -> None:
    fakes = Fakes("all", can_rewind=False)
    turn = fakes.ask()
    assert_drops(drops_of(turn), plain_drops(turn))
    assert fakes.ask().text == REPLY


@pytest.mark.parametrize("readers", ["base", "expert", "all"])
def test_a_pair_with_a_tokenizer_of_its_own(readers: Readers) -> None:
    def speaker() -> tuple[TrioSpeaker, Trio]:
        pair = align(random_model(2, vocab=PIECES), random_model(3, vocab=PIECES), LARGE)
        trio = Trio(random_model(1, vocab=LARGE), pair.expert, pair.anti_expert, Steering(0.8))
        vocabs = (LARGE, PIECES, PIECES)
        reading = Reading(lambda _messages: PASSAGES, readers)
        endings = LARGE.end_of_generation
        return TrioSpeaker(trio, (PLAIN,) * 3, vocabs, endings, reading=reading), trio

    asked, _ = speaker()
    turn = asked.reply("hello there?", max_tokens=25)
    tokens = [piece.token for piece in turn if piece.token is not None]
    found = turn.cite()
    assert found
    # Each figure again, by a trio that has read nothing before.
    scores = []
    for left_out in (None, 0, 1, 2):
        fresh, trio = speaker()
        kept = tuple(f for n, f in enumerate(PASSAGES) if n != left_out)
        prompt: Any = fresh.encode(turn.asked.messages, turn.read._replace(found=kept))
        one = []
        for token in tokens:
            trio.eval(prompt)
            row = trio.exact_for(token).astype(np.float64)
            one.append(row[token] - np.log(np.exp(row - row.max()).sum()) - row.max())
            prompt = [token]
        scores.append(np.array(one))
    spans = asked.spans(tokens)
    for each in found:
        mine = [max(a, each.start) < min(b, each.end) for a, b in spans]
        wanted = [(scores[0] - other)[mine].sum() for other in scores[1:]]
        assert each.drops == pytest.approx(wanted, abs=1e-2)


def test_a_reply_that_a_stop_string_or_the_length_ended() -> None:
    fakes = Fakes("all")
    turn = fakes.ask(stops="nc. And")
    assert turn.text == "It is the fra"
    found = turn.cite()
    assert [each.text for each in found] == ["It is the fra"]
    short = fakes.speaker.reply(QUESTION, max_tokens=5)
    list(short)
    assert [each.text for each in short.cite()] == ["It is"]


# What is read again


def test_prompts_that_begin_alike_are_not_read_again() -> None:
    fakes = Fakes("base")
    turn = fakes.ask()
    before = fakes.evaluated
    found = turn.cite()
    prompts = [
        len(encode(PLAIN(with_passages(turn.asked.messages, TEXTS[:n] + TEXTS[n + 1 :])), VOCAB))
        for n in range(3)
    ]
    naive = sum(prompts) + 4 * len(REPLY.encode())
    shared = len(TEXTS[0]) * 2 + len(TEXTS[1])
    assert fakes.evaluated - before < naive - shared
    assert len(found) == 3


def test_where_no_document_was_found_nothing_is_evaluated() -> None:
    fakes = Fakes("all")
    fakes.reading._find = lambda _messages: ()
    turn = fakes.ask("Nothing?")
    before = fakes.evaluated
    assert all(each.drops == () and each.passage is None for each in turn.cite())
    assert fakes.evaluated == before


# Afterwards


def test_a_conversation_goes_on_as_if_nothing_had_been_cited() -> None:
    def talk(cites: bool) -> tuple[list[str], list[list[int]], int]:
        fakes, said = Fakes("base", "auto"), []
        conversation = Conversation(fakes.speaker)
        for question in ("What?", "Why?", "How?"):
            turn = conversation.say(question, max_tokens=60)
            said.append("".join(piece.text for piece in turn))
            if cites:
                turn.cite()
        histories = [model.history for model in fakes.models]
        assert fakes.trio.n_past == max(map(len, histories))
        return said, histories, len(conversation.messages)

    quiet, cited = talk(False), talk(True)
    assert cited[0] == quiet[0]
    assert cited[2] == quiet[2]
    following = Fakes("base")
    turn = following.ask()
    turn.cite()
    assert following.ask("Where?").text == Fakes("base").ask("Where?").text


def test_an_older_reply_is_cited_as_when_it_was_the_last() -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    wanted = drops_of(turn)
    usage, stats = turn.usage, turn.stats
    fakes.ask("And then?")
    assert_drops(drops_of(turn), wanted)
    assert (turn.usage, turn.stats) == (usage, stats)


def test_another_reply_under_way_in_this_thread_ends() -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    other = fakes.speaker.reply("And then?")
    next(other)
    assert_drops(drops_of(turn), plain_drops(turn))
    with pytest.raises(BusyError):
        next(other)


# What cannot be cited


def test_a_reply_under_way_is_refused() -> None:
    fakes = Fakes("all")
    turn = fakes.speaker.reply(QUESTION, max_tokens=20)
    with pytest.raises(UsageError, match="under way"):
        turn.cite()
    for _ in range(6):
        next(turn)
    with pytest.raises(UsageError, match="under way"):
        turn.cite()
    turn.close()
    assert [each.text for each in turn.cite()] == ["It is"]


@pytest.mark.parametrize("readers", ["nobody", None])
def test_a_reply_that_read_nothing_is_refused(readers: Readers | None) -> None:
    fakes = Fakes("all")
    if readers is None:
        fakes.speaker.reading = None
    turn = fakes.ask(docs_to=readers)
    with pytest.raises(UsageError, match="has read no documents"):
        turn.cite()


def test_a_reply_that_never_began_is_refused() -> None:
    turn = Fakes("all").speaker.reply(QUESTION)
    turn.close()
    with pytest.raises(UsageError, match="has read no documents"):
        turn.cite()


def test_a_context_that_has_become_too_small_is_told() -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    for model in fakes.models:
        model._n_ctx = 100
    with pytest.raises(ContextFullError):
        turn.cite()
    for model in fakes.models:
        model._n_ctx = 4096
    assert_drops(drops_of(turn), plain_drops(turn))


def test_a_closed_session_is_told() -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    fakes.floor.close()
    with pytest.raises(EngineError, match="closed"):
        turn.cite()


def test_another_threads_reply_keeps_the_models() -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    other = fakes.speaker.reply("And then?", max_tokens=20)
    next(other)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            turn.cite()
        except BusyError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised
    assert list(other)


# Stopping


@pytest.mark.parametrize("nth", [0, 1, 2, 3])
@pytest.mark.parametrize("how", ["flag", "floor", "raise"])
def test_a_cancel_is_heard_and_leaves_the_models_right(how: str, nth: int) -> None:
    fakes, flag, told = Fakes("all"), Flag(), []
    turn = fakes.ask()

    def progress(what: str, share: float) -> None:
        told.append((what, share))
        if len(told) > nth:
            if how == "raise":
                raise Cancelled("enough")
            flag.set() if how == "flag" else fakes.floor.cancel()

    before = fakes.evaluated
    with pytest.raises(Cancelled):
        turn.cite(progress=progress, cancel=flag)
    assert len(told) == nth + 1
    if nth == 0:
        assert fakes.evaluated == before
    assert fakes.ask().text == REPLY
    assert_drops(drops_of(turn), plain_drops(turn))


def test_a_cancel_is_heard_while_models_evaluate() -> None:
    fakes, flag = Fakes("all"), Flag()
    turn = fakes.ask()
    rows = fakes.models[2]._rows

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        flag.set()
        return rows(history)

    fakes.models[2]._rows = row
    with pytest.raises(Cancelled) as stopped:
        turn.cite(cancel=flag)
    # Although the error is held, and with it the frames of what was under way.
    assert fakes.floor.holder is None
    assert stopped.tb is not None
    fakes.models[2]._rows = rows
    assert fakes.ask().text == REPLY


def test_a_cancelled_reply_can_still_be_cited() -> None:
    fakes = Fakes("all")
    turn = fakes.speaker.reply(QUESTION, max_tokens=40)
    for _ in range(10):
        next(turn)
    turn.cancel()
    assert list(turn)[-1].finish_reason == "cancelled"
    assert [each.text for each in turn.cite()] == ["It is the"]


def test_progress_is_told_before_each_evaluation() -> None:
    told: list[tuple[str, float]] = []
    Fakes("all").ask().cite(progress=lambda *step: told.append(step))
    assert told == [
        ("scoring the reply", 0.0),
        ("scoring it without passage 3", 0.25),
        ("scoring it without passage 2", 0.5),
        ("scoring it without passage 1", 0.75),
    ]


@pytest.mark.parametrize("nth", [1, 2, 3, 5])
@pytest.mark.parametrize("late", [False, True])
def test_a_failed_evaluation_leaves_the_models_right(nth: int, late: bool) -> None:
    fakes = Fakes("all")
    turn = fakes.ask()
    fakes.models[1].fail_on(nth, Fault(EngineError("broken"), late))
    with pytest.raises(EngineError, match="broken"):
        turn.cite()
    assert fakes.ask().text == REPLY
    assert_drops(drops_of(turn), plain_drops(turn))


def test_messages_before_the_question_are_kept() -> None:
    fakes = Fakes("all")
    messages = [
        Message("system", "Be kind."),
        Message("user", "Hm"),
        Message("assistant", "Yes"),
        Message("user", QUESTION),
    ]
    turn = fakes.speaker.reply(messages, max_tokens=80)
    list(turn)
    assert_drops(drops_of(turn), plain_drops(turn))
    assert fakes.speaker.steering == STEERING
